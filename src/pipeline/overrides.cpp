#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

namespace {

using base::cat;
using base::Location;
using base::Node;

Node* item_with_id(Node& list, const std::string& id) {
  for (Node& item : list.items()) {
    const Node* found = item.find("id");
    if (found != nullptr && found->is_scalar() && found->value() == id) return &item;
  }
  return nullptr;
}

std::vector<std::string> ids_of(const Node& list) {
  std::vector<std::string> ids;
  for (const Node& item : list.items()) {
    const Node* id = item.find("id");
    if (id != nullptr && id->is_scalar()) ids.push_back(id->value());
  }
  return ids;
}

/// The child of `node` called `key`, made when a map lacks it.
Node* descend(Node& node, const std::string& key, const std::string& text, const Location& where) {
  if (node.is_list()) {
    Node* item = item_with_id(node, key);
    if (item == nullptr) {
      const std::string near = base::nearest(key, ids_of(node));
      throw base::ConfigError(cat(where.text(), ": no item with id '", key, "'", near.empty() ? "" : "; did you mean '",
                                  near, near.empty() ? "" : "'?"));
    }
    return item;
  }
  if (node.is_scalar()) {  // `optimizer: adamw` grows into `optimizer: {adamw: {...}}`
    if (node.value() != key) {
      throw base::ConfigError(cat(where.text(), ": '", key, "' is not part of ", node.describe(), " in ", text));
    }
    Node grown = Node::map(node.where());
    grown.set(key, Node::map(where), where);
    node = grown;
  }
  if (node.is_null()) node = Node::map(where);
  if (Node* child = node.find(key)) return child;
  node.set(key, Node(), where);
  return node.find(key);
}

}  // namespace

void apply_override(Node& root, const std::string& text) {
  const Location where{cat("override ", text)};
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw base::ConfigError(cat("override '", text, "' must have the form key.sub_key=value"));
  }
  Node value = Node::parse(text.substr(equals + 1), where.file);
  value.set_where(where);
  Node* node = &root;
  for (const std::string& key : base::split(text.substr(0, equals), '.')) {
    if (key.empty()) throw base::ConfigError(cat("override '", text, "' has an empty key"));
    node = descend(*node, key, text, where);
  }
  *node = std::move(value);
}

}  // namespace rqat::pipeline
