#include "node_dump.h"
#include "rqat/base/fields.h"
#include "rqat/base/registry.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

Node text_node(const std::string& text) { return Node::scalar(text, {}, looks_like_no_text(text)); }

class Writer : public FieldVisitor {
 public:
  Node take() { return std::move(map_); }

  void field(const char* key, bool& value, const char*) override { put(key, Node::scalar(value ? "true" : "false")); }
  void field(const char* key, int64_t& value, const char*, Range) override {
    put(key, Node::scalar(std::to_string(value)));
  }
  void field(const char* key, double& value, const char*, Range) override {
    put(key, Node::scalar(format_double(value)));
  }
  void field(const char* key, std::string& value, const char*) override { put(key, text_node(value)); }
  void field(const char* key, std::vector<std::string>& value, const char*) override {
    Node list = Node::list();
    for (const auto& item : value) list.items().push_back(text_node(item));
    put(key, std::move(list));
  }
  void field(const char* key, std::vector<double>& value, const char*) override {
    Node list = Node::list();
    for (const double item : value) list.items().push_back(Node::scalar(format_double(item)));
    put(key, std::move(list));
  }
  void field(const char* key, std::optional<int64_t>& value, const char*, Range) override {
    put(key, value ? Node::scalar(std::to_string(*value)) : Node());
  }
  void field(const char* key, std::optional<double>& value, const char*, Range) override {
    put(key, value ? Node::scalar(format_double(*value)) : Node());
  }
  void choice(const char* key, std::string& value, const std::vector<std::string>&, const char*) override {
    put(key, text_node(value));
  }
  void group(const char* key, Config& value, const char*) override { put(key, write_config(value)); }
  void component(const char* key, Component& value, const RegistryBase& registry, const char*) override {
    put(key, component_node(value, registry));
  }
  void components(const char* key, std::vector<Component>& value, const RegistryBase& registry, const char*) override {
    Node list = Node::list();
    for (const Component& item : value) list.items().push_back(component_node(item, registry));
    put(key, std::move(list));
  }
  void tree(const char* key, Node& value, const char*) override { put(key, value); }
  void required(const char*) override {}

 private:
  void put(const char* key, Node node) { map_.set(key, std::move(node)); }

  /// Settings left to their defaults are written out, too: a resolved recipe must not change with the defaults.
  static Node component_node(const Component& component, const RegistryBase& registry) {
    if (!component) return {};
    std::shared_ptr<Config> config = component.config;
    const EntryInfo* const info = registry.find_info(component.name);
    if (!config && info != nullptr) config = info->make_config();
    Node settings = config ? write_config(*config) : Node::map();
    if (settings.entries().empty()) return text_node(component.name);
    Node node = Node::map();
    node.set(component.name, std::move(settings));
    return node;
  }

  Node map_ = Node::map();
};

}  // namespace

Node write_config(Config& config) {
  Writer writer;
  config.fields(writer);
  return writer.take();
}

}  // namespace rqat::base
