// Conversations as the text a model was trained on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace rqat::text {

struct Message {
  std::string role;  ///< system | user | assistant
  std::string content;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual std::string name() const = 0;
  /// The conversation as text; `add_generation_prompt` appends the opening of an assistant turn.
  virtual std::string render(const std::vector<Message>& messages, bool add_generation_prompt) const = 0;
  /// What ends an assistant turn ("<|im_end|>\n"): the part of it that a model must learn to emit is `stop_text`.
  virtual std::string stop_text() const = 0;
};

/// Picks the implementation for the template of a model folder (chat_template.jinja, or tokenizer_config.json's
/// chat_template): ChatML with the default system prompt it injects (SmolLM2's is part of the template), and Qwen3.
/// A template that matches none is an IoError that says so; a folder without a template gets plain ChatML when its
/// tokenizer has <|im_start|>, else an IoError.
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& folder);

}  // namespace rqat::text
