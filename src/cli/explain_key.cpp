#include "explain_key.h"

#include <memory>

#include "kinds.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/data/mapping.h"

namespace rqat::cli {

namespace {

using base::cat;
using base::FieldInfo;

/// A settings struct and what it is called in messages.
struct Part {
  std::string title;
  std::shared_ptr<base::Config> config;
};

std::vector<Part> nouns() {
  return {{"recipe", std::make_shared<pipeline::Recipe>()},
          {"models: entry", std::make_shared<pipeline::ModelSource>()},
          {"quant: entry", std::make_shared<quant::QuantPolicy>()},
          {"data: entry", std::make_shared<data::DataConfig>()},
          {"mapping of a data: entry", std::make_shared<data::Mapping>()}};
}

std::vector<Part> all_parts() {
  std::vector<Part> parts = nouns();
  for (const base::RegistryBase* registry : all_kinds()) {
    if (registry->kind() == "commands") continue;
    for (const base::EntryInfo* info : registry->infos())
      parts.push_back({cat(registry->kind(), " ", info->name), info->make_config()});
  }
  return parts;
}

std::string row_text(const std::string& title, const FieldInfo& info) {
  std::string text = cat(info.key, " (", title, "): ", info.help, "\n  ", info.type);
  text += info.required ? ", required" : cat(", default ", info.default_value.empty() ? "\"\"" : info.default_value);
  if (!info.range.empty()) text += cat(", allowed ", info.range);
  return text + "\n";
}

/// Follows "optimizer.adamw.learning_rate" through components. Empty when the path ends nowhere.
std::string follow(const Part& part, const std::string& path) {
  for (const FieldInfo& info : base::describe_config(*part.config)) {
    if (info.key == path) return row_text(part.title, info);
    const size_t colon = info.type.find("component");
    if (colon == std::string::npos || !base::starts_with(path, info.key + ".")) continue;
    const base::RegistryBase* registry = find_kind(info.type.substr(info.type.find(": ") + 2));
    const std::string rest = path.substr(info.key.size() + 1);
    const std::string name = rest.substr(0, rest.find('.'));
    const base::EntryInfo* entry = registry == nullptr ? nullptr : registry->find_info(name);
    if (entry == nullptr) continue;
    if (rest == name) return cat(name, " (", registry->kind(), "): ", entry->help, "\n");
    return follow({cat(registry->kind(), " ", name), entry->make_config()}, rest.substr(name.size() + 1));
  }
  return "";
}

const base::Node* child(const base::Node& node, const std::string& key) {
  for (const base::Node& item : node.items()) {
    const base::Node* id = item.find("id");
    if (id != nullptr && id->is_scalar() && id->value() == key) return &item;
  }
  return node.find(key);
}

std::string value_text(const std::string& path, const pipeline::Recipe& recipe) {
  const base::Node* node = &recipe.resolved;
  for (const std::string& key : base::split(path, '.')) {
    node = child(*node, key);
    if (node == nullptr) return "  in the recipe: not set\n";
  }
  return cat("  in the recipe: ", base::trim(node->dump()), "   (", node->where().text(), ")\n");
}

/// The part that "stages.kd." or "quant.w2." names, and the path behind it.
std::pair<Part, std::string> split_path(const std::string& path, const pipeline::Recipe& recipe) {
  const std::vector<std::string> keys = base::split(path, '.');
  if (keys.size() == 1) return {nouns()[0], path};
  const std::string rest = keys.size() > 2 ? path.substr(keys[0].size() + keys[1].size() + 2) : "";
  const pipeline::StageEntry* entry = keys[0] == "stages" ? recipe.find_stage(keys[1]) : nullptr;
  if (entry != nullptr) return {{cat("stages ", entry->type), entry->config}, rest};
  const std::string mapping = "mapping.";
  if (keys[0] == "data" && base::starts_with(rest, mapping)) return {nouns().back(), rest.substr(mapping.size())};
  for (const Part& noun : nouns()) {
    if (noun.title == cat(keys[0], ": entry")) return {noun, rest};
  }
  return {{}, ""};
}

std::string help_of(const Part& part) { return cat(part.title, " has these keys:\n", base::help_text(*part.config)); }

[[noreturn]] void unknown_key(const Part& part, const std::string& key) {
  std::vector<std::string> known;
  for (const FieldInfo& info : base::describe_config(*part.config)) known.push_back(info.key);
  const std::string near = base::nearest(key, known);
  throw base::UsageError(cat("--explain: ", part.title, " has no key '", key, "'",
                             near.empty() ? "" : cat("; did you mean '", near, "'?"),
                             " (its keys: ", base::join(known, ", "), ")"));
}

}  // namespace

std::string explain_key(const std::string& key, const pipeline::Recipe* recipe) {
  if (recipe != nullptr) {
    const auto [part, rest] = split_path(key, *recipe);
    if (part.config && rest.empty()) return help_of(part);
    const std::string text = part.config ? follow(part, rest) : "";
    if (!text.empty()) return text + value_text(key, *recipe);
    if (part.config && rest != key) unknown_key(part, rest);
  }
  std::string text;
  std::vector<std::string> known;
  for (const Part& part : all_parts()) {
    text += follow(part, key);
    for (const FieldInfo& info : base::describe_config(*part.config)) known.push_back(info.key);
  }
  if (!text.empty()) return text;
  const std::string near = base::nearest(key, known);
  throw base::UsageError(cat("--explain: no part has a key '", key, "'",
                             near.empty() ? "" : cat("; did you mean '", near, "'?"),
                             " (`rqat list` shows the parts, `rqat list KIND NAME` their keys)"));
}

}  // namespace rqat::cli
