// Settings of stages as trees: for what looks at all types of stages without being one.
#pragma once

#include <cstdlib>
#include <string>

#include "rqat/base/registry.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline {

/// The node at "a.b.c", nullptr where the path ends before.
inline const base::Node* at_path(const base::Node& root, const std::string& path) {
  const base::Node* node = &root;
  for (const std::string& key : base::split(path, '.')) {
    node = node->is_map() ? node->find(key) : nullptr;
    if (node == nullptr) return nullptr;
  }
  return node;
}

inline double number_at(const base::Node& root, const std::string& path, double otherwise) {
  const base::Node* node = at_path(root, path);
  return node != nullptr && node->is_scalar() ? std::strtod(node->value().c_str(), nullptr) : otherwise;
}

inline std::string text_at(const base::Node& root, const std::string& path) {
  const base::Node* node = at_path(root, path);
  return node != nullptr && node->is_scalar() ? node->value() : "";
}

/// Whether the list (or the one text) at `key` holds `text`.
inline bool lists(const base::Node& settings, const char* key, const std::string& text) {
  const base::Node* list = settings.find(key);
  if (list == nullptr) return false;
  if (list->is_scalar()) return list->value() == text;
  for (const base::Node& item : list->items()) {
    if (item.is_scalar() && item.value() == text) return true;
  }
  return false;
}

/// One component field of a stage, read back from its settings.
struct OneComponent : base::Config {
  OneComponent(const char* component_key, const base::RegistryBase& from) : key(component_key), registry(from) {}
  void fields(base::FieldVisitor& v) override { v.component(key, component, registry, ""); }
  const char* key;
  const base::RegistryBase& registry;
  base::Component component;
};

inline base::Component component_of(const base::Node& settings, const char* key, const base::RegistryBase& registry) {
  OneComponent holder(key, registry);
  base::Node node = base::Node::map();
  if (const base::Node* written = settings.find(key)) node.set(key, *written);
  base::Faults faults;
  base::read_config(holder, node, "", faults);
  return holder.component;
}

}  // namespace rqat::pipeline
