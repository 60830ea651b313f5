#include <algorithm>

#include "node_dump.h"
#include "rqat/base/fields.h"
#include "rqat/base/registry.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

/// Rows for all fields; those of a group follow as "group.key". Defaults come from what write_config() wrote.
class Describer : public FieldVisitor {
 public:
  Describer(Node values, std::string prefix, std::vector<FieldInfo>& rows)
      : values_(std::move(values)), prefix_(std::move(prefix)), rows_(rows) {}

  void field(const char* key, bool&, const char* help) override { add(key, "true|false", help); }
  void field(const char* key, int64_t&, const char* help, Range range) override { add(key, "integer", help, range); }
  void field(const char* key, double&, const char* help, Range range) override { add(key, "number", help, range); }
  void field(const char* key, std::string&, const char* help) override { add(key, "text", help); }
  void field(const char* key, std::vector<std::string>&, const char* help) override { add(key, "list of text", help); }
  void field(const char* key, std::vector<double>&, const char* help) override { add(key, "list of numbers", help); }
  void field(const char* key, std::optional<int64_t>&, const char* help, Range range) override {
    add(key, "integer or null", help, range);
  }
  void field(const char* key, std::optional<double>&, const char* help, Range range) override {
    add(key, "number or null", help, range);
  }
  void choice(const char* key, std::string&, const std::vector<std::string>& choices, const char* help) override {
    std::vector<std::string> named = choices;
    std::erase(named, "");
    add(key, "one of " + join(named, "|"), help);
  }
  void group(const char* key, Config& value, const char*) override {
    Describer inner(write_config(value), cat(prefix_, key, "."), rows_);
    value.fields(inner);
  }
  void component(const char* key, Component& value, const RegistryBase& registry, const char* help) override {
    add(key, "component: " + registry.kind(), help);
    rows_.back().default_value = value ? value.name : "null";
  }
  void components(const char* key, std::vector<Component>& value, const RegistryBase& registry,
                  const char* help) override {
    add(key, "list of components: " + registry.kind(), help);
    std::vector<std::string> names;
    names.reserve(value.size());
    for (const Component& item : value) names.push_back(item.name);
    rows_.back().default_value = cat("[", join(names, ", "), "]");
  }
  void tree(const char* key, Node&, const char* help) override { add(key, "any", help); }
  void required(const char* key) override {
    for (FieldInfo& row : rows_) {
      if (row.key != prefix_ + key) continue;
      row.required = true;
      row.default_value = "";
    }
  }

 private:
  void add(const char* key, std::string type, const char* help, Range range = {}) {
    rows_.push_back({prefix_ + key, std::move(type), flow_text(*values_.find(key)), range.text(), help, false});
  }

  Node values_;
  std::string prefix_;
  std::vector<FieldInfo>& rows_;
};

}  // namespace

std::vector<FieldInfo> describe_config(Config& config) {
  std::vector<FieldInfo> rows;
  Describer describer(write_config(config), "", rows);
  config.fields(describer);
  return rows;
}

std::string help_text(Config& config, int indent) {
  const std::vector<FieldInfo> rows = describe_config(config);
  size_t width = 0;
  for (const FieldInfo& row : rows) width = std::max(width, row.key.size());
  std::string text;
  for (const FieldInfo& row : rows) {
    std::vector<std::string> notes = {row.type, row.required ? "required" : "default " + row.default_value};
    if (!row.range.empty()) notes.push_back(row.range);
    text += cat(std::string(static_cast<size_t>(indent), ' '), row.key, std::string(width - row.key.size() + 2, ' '),
                row.help, " (", join(notes, ", "), ")\n");
  }
  return text;
}

}  // namespace rqat::base
