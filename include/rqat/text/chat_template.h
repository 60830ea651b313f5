// Conversations as the text a model was trained on.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
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

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  /// Where the template comes from: the name of its file, or "chatml" for the built-in one.
  virtual std::string name() const = 0;
  /// The conversation as text; `add_generation_prompt` appends the opening of an assistant turn. Begins with the BOS
  /// token where the template writes it, so encode it as it is. Thread-safe. Throws DataError when the template refuses
  /// the conversation (roles that do not alternate, say).
  virtual std::string render(const std::vector<Message>& messages, bool add_generation_prompt) const = 0;
  /// What a model must emit to end its turn ("<|im_end|>"): what the template writes after an assistant's content,
  /// without white space at its end. "" when the template writes nothing there.
  virtual std::string stop_text() const = 0;
};

/// Reads the template of a model folder: chat_template.jinja, else tokenizer_config.json's chat_template, else plain
/// ChatML when the tokenizer has <|im_start|>; or the one inside a .gguf file. Templates are run as written, default
/// system prompts included, by an interpreter for the part of Jinja they use, with transformers' white space rules and
/// variables (messages, bos_token, eos_token, add_generation_prompt, tools and documents = none). Throws IoError: no
/// template, or one that needs more of Jinja than there is (named, with file and line).
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& folder,
                                                 const ChatTemplateOptions& options = {});

}  // namespace rqat::text
