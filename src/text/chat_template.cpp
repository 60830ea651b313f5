#include "rqat/text/chat_template.h"

#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf.h"
#include "rqat/io/json_file.h"
#include "rqat/text/tokenizer.h"
#include "text/jinja/template.h"
#include "text/json_fields.h"
#include "text/readers.h"

namespace rqat::text {
namespace {

constexpr const char* kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct Source {
  std::string name;   ///< for ChatTemplate::name()
  std::string where;  ///< for messages
  std::string text;
  std::string bos_token, eos_token;
};

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(const Source& source, const ChatTemplateOptions& options)
      : name_(source.name), template_(source.text, source.where) {
    constants_.set("bos_token", jinja::Value(source.bos_token));
    constants_.set("eos_token", jinja::Value(source.eos_token));
    constants_.set("tools", jinja::Value(jinja::None{}));
    constants_.set("documents", jinja::Value(jinja::None{}));
    if (options.enable_thinking) constants_.set("enable_thinking", jinja::Value(*options.enable_thinking));
  }

  std::string name() const override { return name_; }

  std::string render(const std::vector<Message>& messages, bool add_generation_prompt) const override {
    jinja::List list;
    for (const Message& message : messages) {
      jinja::Map fields;
      fields.set("role", jinja::Value(message.role));
      fields.set("content", jinja::Value(message.content));
      list.emplace_back(std::move(fields));
    }
    jinja::Map variables = constants_;
    variables.set("messages", jinja::Value(std::move(list)));
    variables.set("add_generation_prompt", jinja::Value(add_generation_prompt));
    return template_.render(variables);
  }

  std::string stop_text() const override {
    const std::string probe = "stop-text-probe";
    const std::string text = render({{"user", "question"}, {"assistant", probe}}, false);
    const size_t found = text.rfind(probe);
    if (found == std::string::npos) return "";
    const std::string rest = text.substr(found + probe.size());
    return rest.substr(0, rest.find_last_not_of(" \t\r\n") + 1);
  }

 private:
  std::string name_;
  jinja::Template template_;
  jinja::Map constants_;
};

std::string config_template(const nlohmann::json& config, const std::string& where) {
  if (!given(config, "chat_template") || !config.at("chat_template").is_array())
    return optional_text(config, "chat_template", where);
  for (const nlohmann::json& item : config.at("chat_template")) {
    if (required_text(item, "name", where) == "default") return required_text(item, "template", where);
  }
  throw base::IoError(base::cat(where, ": chat_template lists no template named 'default'"));
}

Source folder_source(const std::filesystem::path& folder) {
  Source source;
  const std::filesystem::path config_path = folder / "tokenizer_config.json",
                              file_path = folder / "chat_template.jinja";
  if (std::filesystem::exists(config_path)) {
    const nlohmann::json config = io::read_json(config_path);
    source.bos_token = optional_text(config, "bos_token", config_path.string());
    source.eos_token = optional_text(config, "eos_token", config_path.string());
    source.text = config_template(config, config_path.string());
    source.name = "tokenizer_config.json";
    source.where = base::cat(config_path.string(), " (chat_template)");
  }
  if (std::filesystem::exists(file_path)) {
    source.text = base::read_file(file_path);
    source.name = "chat_template.jinja";
    source.where = file_path.string();
  }
  if (!source.text.empty()) return source;
  if (load_tokenizer(folder)->token_id("<|im_start|>") < 0) {
    throw base::IoError(base::cat(folder.string(),
                                  ": no chat template: expected chat_template.jinja, or chat_template in ",
                                  "tokenizer_config.json, or a tokenizer with the token <|im_start|>"));
  }
  source.text = kChatMl;
  source.name = source.where = "chatml";
  return source;
}

Source gguf_source(const std::filesystem::path& path) {
  const io::GgufReader file(path);
  const BpeParts vocabulary = read_gguf_vocabulary(path);
  const char* key = "tokenizer.chat_template";
  return {path.filename().string(), base::cat(path.string(), " (", key, ")"), file.text(key), vocabulary.bos_token,
          vocabulary.eos_token};
}

}  // namespace

std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& folder,
                                                 const ChatTemplateOptions& options) {
  if (!std::filesystem::exists(folder)) throw base::IoError(base::cat(folder.string(), ": no such file or folder"));
  const Source source = folder.extension() == ".gguf" ? gguf_source(folder) : folder_source(folder);
  return std::make_unique<JinjaChatTemplate>(source, options);
}

}  // namespace rqat::text
