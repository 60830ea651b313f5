#include "rqat/text/chat_template.h"

#include <nlohmann/json.hpp>
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
  std::vector<std::pair<std::string, std::string>> special_tokens;  ///< "bos_token" and so on
};

constexpr int kDeepestVariables = 100;

jinja::Value value_of(const nlohmann::ordered_json& json, int depth = 0) {
  if (depth > kDeepestVariables)
    throw base::DataError(base::cat("chat template: variables are nested more than ", kDeepestVariables, " deep"));
  if (json.is_string()) return jinja::Value(json.get<std::string>());
  if (json.is_boolean()) return jinja::Value(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return jinja::Value(json.get<double>());
  if (json.is_number_integer()) return jinja::Value(json.get<int64_t>());
  if (json.is_number()) return jinja::Value(json.get<double>());
  if (json.is_array()) {
    jinja::List list;
    for (const auto& item : json) list.push_back(value_of(item, depth + 1));
    return jinja::Value(std::move(list));
  }
  if (json.is_object()) {
    jinja::Map map;
    for (const auto& [key, item] : json.items()) map.set(key, value_of(item, depth + 1));
    return jinja::Value(std::move(map));
  }
  return jinja::Value(jinja::None{});
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(const Source& source, const ChatTemplateOptions& options)
      : name_(source.name), template_(source.text, source.where) {
    for (const auto& [name, token] : source.special_tokens) constants_.set(name, jinja::Value(token));
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
    return template_.render(variables).text;
  }

  RenderedChat render_variables(const nlohmann::ordered_json& variables) const override {
    if (!variables.is_object())
      throw base::DataError(
          base::cat("the variables of a chat template are ", variables.type_name(), ", expected an object"));
    jinja::Map merged = constants_;
    merged.set("add_generation_prompt", jinja::Value(false));
    for (const auto& [name, value] : variables.items()) merged.set(name, value_of(value));
    jinja::Rendered rendered = template_.render(merged);
    return {std::move(rendered.text), std::move(rendered.generated)};
  }

  bool has_generation_blocks() const override { return template_.has_generation_blocks(); }

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
    for (const char* role :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
      const std::string token = optional_text(config, role, config_path.string());
      if (!token.empty()) source.special_tokens.emplace_back(role, token);
    }
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
  const TokenizerParts vocabulary = read_gguf_vocabulary(path);
  const char* key = "tokenizer.chat_template";
  Source source{path.filename().string(), base::cat(path.string(), " (", key, ")"), file.text(key), {}};
  if (!vocabulary.bos_token.empty()) source.special_tokens.emplace_back("bos_token", vocabulary.bos_token);
  if (!vocabulary.eos_token.empty()) source.special_tokens.emplace_back("eos_token", vocabulary.eos_token);
  return source;
}

}  // namespace

std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& folder,
                                                 const ChatTemplateOptions& options) {
  if (!std::filesystem::exists(folder)) throw base::IoError(base::cat(folder.string(), ": no such file or folder"));
  const Source source = folder.extension() == ".gguf" ? gguf_source(folder) : folder_source(folder);
  return std::make_unique<JinjaChatTemplate>(source, options);
}

std::unique_ptr<ChatTemplate> load_chat_template_file(
    const std::filesystem::path& path, const std::vector<std::pair<std::string, std::string>>& special_tokens) {
  const Source source{path.filename().string(), path.string(), base::read_file(path), special_tokens};
  return std::make_unique<JinjaChatTemplate>(source, ChatTemplateOptions{});
}

}  // namespace rqat::text
