#include <cmath>
#include <optional>
#include <set>

#include "number_text.h"
#include "rqat/base/fields.h"
#include "rqat/base/registry.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

/// "the number 1.5" reads better than "the text '1.5'".
std::string found_text(const Node& node) {
  return node.is_scalar() && !node.quoted() && is_number_text(node.value()) ? cat("the number ", node.value())
                                                                            : node.describe();
}

std::string join_path(const std::string& path, const std::string& key) {
  return path.empty() ? key : cat(path, ".", key);
}

class Reader : public FieldVisitor {
 public:
  Reader(const Node& node, const std::string& path, Faults& faults) : node_(node), path_(path), faults_(faults) {}

  void field(const char* key, bool& value, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    const std::string text = node->is_scalar() && !node->quoted() ? node->value() : "";
    if (text == "true" || text == "True" || text == "TRUE") {
      value = true;
    } else if (text == "false" || text == "False" || text == "FALSE") {
      value = false;
    } else {
      expected(key, *node, "true or false");
    }
  }
  void field(const char* key, int64_t& value, const char*, Range range) override {
    if (const Node* const node = take(key)) read_integer(key, *node, range, value);
  }
  void field(const char* key, double& value, const char*, Range range) override {
    if (const Node* const node = take(key)) read_number(key, *node, range, value);
  }
  void field(const char* key, std::string& value, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    if (node->is_scalar()) {
      value = node->value();
    } else {
      expected(key, *node, "text");
    }
  }
  void field(const char* key, std::vector<std::string>& value, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    std::vector<std::string> read;
    for (const Node* const item : items_of(key, *node, "a list of text")) {
      if (!item->is_scalar()) return expected(key, *item, "a list of text");
      read.push_back(item->value());
    }
    if (is_series(*node)) value = std::move(read);
  }
  void field(const char* key, std::vector<double>& value, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    std::vector<double> read;
    for (const Node* const item : items_of(key, *node, "a list of numbers")) {
      const std::optional<double> number = number_of(*item);
      if (!number) return expected(key, *item, "a list of numbers");
      if (!std::isfinite(*number)) return expected(key, *item, "a list of finite numbers");
      read.push_back(*number);
    }
    if (is_series(*node)) value = std::move(read);
  }
  void field(const char* key, std::optional<int64_t>& value, const char*, Range range) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    int64_t read = 0;
    if (node->is_null()) {
      value.reset();
    } else if (read_integer(key, *node, range, read)) {
      value = read;
    }
  }
  void field(const char* key, std::optional<double>& value, const char*, Range range) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    double read = 0;
    if (node->is_null()) {
      value.reset();
    } else if (read_number(key, *node, range, read)) {
      value = read;
    }
  }
  void choice(const char* key, std::string& value, const std::vector<std::string>& choices, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) return;
    std::vector<std::string> named = choices;
    std::erase(named, "");  // stands for "none chosen", which nobody writes
    const std::string all = join(named, ", ");
    if (!node->is_scalar()) return expected(key, *node, cat("one of ", all));
    for (const auto& choice : choices) {
      if (choice == node->value()) {
        value = choice;
        return;
      }
    }
    fault(node->where(), key,
          cat("unknown value '", node->value(), "'", did_you_mean(node->value(), named), " (one of ", all, ")"));
  }
  void group(const char* key, Config& value, const char*) override {
    const Node* const node = take(key);
    read_settings(value, node, join_path(path_, key));
  }
  void component(const char* key, Component& value, const RegistryBase& registry, const char*) override {
    const Node* const node = take(key);
    if (node == nullptr) {
      read_default(value, registry, join_path(path_, key));
    } else if (node->is_null()) {
      value = Component();
      none_.insert(key);
    } else {
      read_component(join_path(path_, key), *node, registry, value);
    }
  }
  void components(const char* key, std::vector<Component>& value, const RegistryBase& registry, const char*) override {
    const Node* const node = take(key);
    const std::string path = join_path(path_, key);
    if (node == nullptr) {
      for (Component& component : value) read_default(component, registry, path);
      return;
    }
    value.clear();
    if (node->is_scalar() || node->is_map()) {
      read_component(path, *node, registry, value.emplace_back());
      return;
    }
    for (size_t i = 0; i < node->items().size(); ++i) {
      read_component(cat(path, "[", i, "]"), node->items()[i], registry, value.emplace_back());
    }
  }
  void tree(const char* key, Node& value, const char*) override {
    if (const Node* const node = take(key)) value = *node;
  }
  void required(const char* key) override {
    if (node_.find(key) != nullptr && !none_.contains(key)) return;
    fault(node_.where(), key, "missing; this key is required");
  }

  void report_unknown_keys() {
    constexpr size_t kShortList = 8;  // beside a suggestion, a longer list only hides it
    bool listed = false;
    for (const auto& entry : node_.entries()) {
      if (allowed_set_.contains(entry.key)) continue;
      std::string rest = allowed_.empty() ? "; nothing can be set here" : did_you_mean(entry.key, allowed_);
      const bool list = !allowed_.empty() && !listed && (rest.empty() || allowed_.size() <= kShortList);
      if (list) rest += cat(" (allowed: ", join(allowed_, ", "), ")");
      listed = listed || list;
      faults_.add(entry.where, cat(join_path(path_, entry.key), ": unknown key", rest));
    }
  }

 private:
  static std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
    const std::string suggestion = nearest(word, candidates);
    return suggestion.empty() ? "" : cat("; did you mean '", suggestion, "'?");
  }

  const Node* take(const char* key) {
    allowed_.push_back(key);
    allowed_set_.insert(key);
    return node_.find(key);
  }

  void fault(const Location& where, const std::string& key, const std::string& message) {
    faults_.add(where, cat(join_path(path_, key), ": ", message));
  }

  void expected(const std::string& key, const Node& node, const std::string& what) {
    const bool quoted_value = node.is_scalar() && node.quoted() && what != "text";
    fault(node.where(), key, cat("expected ", what, ", found ", found_text(node), quoted_value ? " in quotes" : ""));
  }

  static std::optional<double> number_of(const Node& node) {
    return node.is_scalar() && !node.quoted() ? parse_double(node.value()) : std::nullopt;
  }

  bool in_range(const std::string& key, const Node& node, Range range, double value) {
    if (range.contains(value)) return true;
    fault(node.where(), key, cat(node.value(), " is out of range; allowed: ", range.text()));
    return false;
  }

  bool read_integer(const std::string& key, const Node& node, Range range, int64_t& value) {
    const std::optional<int64_t> number =
        node.is_scalar() && !node.quoted() ? parse_integer(node.value()) : std::nullopt;
    if (!number) {
      expected(key, node, "an integer");
      return false;
    }
    if (!in_range(key, node, range, static_cast<double>(*number))) return false;
    value = *number;
    return true;
  }

  bool read_number(const std::string& key, const Node& node, Range range, double& value) {
    const std::optional<double> number = number_of(node);
    if (!number) {
      expected(key, node, "a number");
      return false;
    }
    if (!in_range(key, node, range, *number)) return false;
    // A field whose default is infinite means it.
    if (!std::isfinite(*number) && std::isfinite(value)) {
      expected(key, node, "a finite number");
      return false;
    }
    value = *number;
    return true;
  }

  /// One scalar may stand for the list of it.
  static bool is_series(const Node& node) { return node.is_list() || node.is_scalar(); }

  std::vector<const Node*> items_of(const std::string& key, const Node& node, const std::string& what) {
    if (node.is_scalar()) return {&node};
    if (!node.is_list()) expected(key, node, what);
    std::vector<const Node*> items;
    for (const Node& item : node.items()) items.push_back(&item);
    return items;
  }

  /// Reads defaults too (`node` = nullptr or null), so that keys required further in are asked for.
  void read_settings(Config& config, const Node* node, const std::string& path) {
    if (node == nullptr || node->is_null()) {
      read_config(config, Node::map(node == nullptr ? node_.where() : node->where()), path, faults_);
    } else {
      read_config(config, *node, path, faults_);
    }
  }

  const EntryInfo* entry_of(const std::string& name, const RegistryBase& registry, const std::string& path,
                            const Location& where) {
    const EntryInfo* const info = registry.find_info(name);
    if (info == nullptr) faults_.add(where, cat(path, ": ", registry.unknown_text(name)));
    return info;
  }

  void read_default(Component& value, const RegistryBase& registry, const std::string& path) {
    if (!value) return;
    value.where = node_.where();
    const EntryInfo* const info = entry_of(value.name, registry, path, value.where);
    if (info == nullptr) return;
    if (!value.config) value.config = info->make_config();
    read_settings(*value.config, nullptr, join_path(path, value.name));
  }

  void read_component(const std::string& path, const Node& node, const RegistryBase& registry, Component& value) {
    const bool one_entry = node.is_map() && node.entries().size() == 1;
    if (!node.is_scalar() && !one_entry) {
      const std::string kind = node.is_map() ? cat("a map of ", node.entries().size(), " keys") : node.describe();
      faults_.add(node.where(), cat(path, ": expected a name or one {name: {settings}}, found ", kind,
                                    " (names: ", join(registry.names(), ", "), ")"));
      return;
    }
    const std::string& name = node.is_scalar() ? node.value() : node.entries()[0].key;
    const EntryInfo* const info =
        entry_of(name, registry, path, node.is_scalar() ? node.where() : node.entries()[0].where);
    if (info == nullptr) return;
    value.name = name;
    value.where = node.where();
    value.config = info->make_config();
    const Node defaults = Node::map(node.where());
    read_settings(*value.config, node.is_scalar() ? &defaults : &node.entries()[0].value, join_path(path, name));
  }

  const Node& node_;
  const std::string& path_;
  Faults& faults_;
  std::vector<std::string> allowed_;
  std::set<std::string> allowed_set_;
  std::set<std::string> none_;  ///< components set to null
};

}  // namespace

void read_config(Config& config, const Node& node, const std::string& path, Faults& faults) {
  config.where = node.where();
  if (!node.is_map() && !node.is_null()) {
    faults.add(node.where(),
               cat(path, path.empty() ? "" : ": ", "expected a map of settings, found ", found_text(node)));
    return;
  }
  const size_t faults_before = faults.size();
  Reader reader(node, path, faults);
  config.fields(reader);
  reader.report_unknown_keys();
  if (faults.size() != faults_before) return;
  for (const auto& message : config.check())
    faults.add(config.where, path.empty() ? message : cat(path, ": ", message));
}

}  // namespace rqat::base
