// Conversations as the text a model was trained on.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rqat::text {

struct Message {
  std::string role;  ///< system | user | assistant
  std::string content;
};

struct ChatTemplateOptions {
  /// The template's variable `enable_thinking`: false makes Qwen3 answer without a <think> block. Absent: the
  /// template's own default (Qwen3: thinking). Templates that do not know it ignore it.
  std::optional<bool> enable_thinking;
};

/// A conversation as text, and which of it an assistant wrote.
struct RenderedChat {
  std::string text;
  /// Byte ranges of `text` inside the template's {% generation %} blocks, in order.
  std::vector<std::pair<size_t, size_t>> generated;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  /// Where the template comes from: the name of its file, or "chatml" for the built-in one.
  virtual std::string name() const = 0;
  /// The conversation as text; `add_generation_prompt` appends the opening of an assistant turn. Begins with the BOS
  /// token where the template writes it, so encode it as it is. Thread-safe. Throws DataError when the template refuses
  /// the conversation (roles that do not alternate, say).
  virtual std::string render(const std::vector<Message>& messages, bool add_generation_prompt) const = 0;
  /// With any variables of a template: an object with messages, tools, add_generation_prompt and so on. Those that
  /// transformers always sets (tools, documents, add_generation_prompt, the names of special tokens) have its defaults.
  virtual RenderedChat render_variables(const nlohmann::ordered_json& variables) const = 0;
  /// True when the template says which text an assistant writes.
  virtual bool has_generation_blocks() const = 0;
  /// What a model must emit to end its turn ("<|im_end|>"): what the template writes after an assistant's content,
  /// without white space at its end. "" when the template writes nothing there.
  virtual std::string stop_text() const = 0;
};

/// Reads the template of a model folder: chat_template.jinja, else tokenizer_config.json's chat_template, else plain
/// ChatML when the tokenizer has <|im_start|>; or the one inside a .gguf file. Templates are run as written, default
/// system prompts included, by an interpreter of Jinja without inheritance, imports and recursive loops, with
/// transformers' white space rules, functions (raise_exception, strftime_now) and variables (messages, bos_token,
/// eos_token, add_generation_prompt, tools and documents = none). Throws IoError: no template, or one that needs more
/// of Jinja than there is (named, with file and line).
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& folder,
                                                 const ChatTemplateOptions& options = {});

/// A template in a file of its own; `special_tokens` become variables ("bos_token", "<s>").
std::unique_ptr<ChatTemplate> load_chat_template_file(
    const std::filesystem::path& path, const std::vector<std::pair<std::string, std::string>>& special_tokens = {});

}  // namespace rqat::text
