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
      const std::vector<std::string> ids = ids_of(node);
      const std::string near = base::nearest(key, ids);
      throw base::ConfigError(cat(where.text(), ": no item with id '", key, "'",
                                  near.empty() ? "" : cat("; did you mean '", near, "'?"),
                                  " (there: ", ids.empty() ? "none" : base::join(ids, ", "), ")"));
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

std::vector<std::string> keys_of(const std::string& path, const std::string& text) {
  std::vector<std::string> keys = base::split(path, '.');
  for (const std::string& key : keys) {
    if (key.empty()) throw base::ConfigError(cat("override '", text, "' has an empty key"));
  }
  return keys;
}

std::vector<std::string> names_in(const Node& node) {
  if (node.is_list()) {
    std::vector<std::string> names = ids_of(node);
    for (const Node& item : node.items()) {
      if (item.is_scalar()) names.push_back(item.value());
    }
    return names;
  }
  std::vector<std::string> names;
  for (const Node::Entry& entry : node.entries()) names.push_back(entry.key);
  return names;
}

[[noreturn]] void nothing_there(const Node& node, const std::string& key, const Location& where) {
  const std::vector<std::string> names = names_in(node);
  const std::string near = base::nearest(key, names);
  throw base::ConfigError(cat(where.text(), ": there is no '", key, "' to remove",
                              near.empty() ? "" : cat("; did you mean '", near, "'?"),
                              " (there: ", names.empty() ? "nothing" : base::join(names, ", "), ")"));
}

/// A map's key, a list's item with that id, or a list's item that is that text.
bool remove_child(Node& node, const std::string& key) {
  if (node.is_map()) return node.erase(key);
  return std::erase_if(node.items(), [&](const Node& item) {
           if (item.is_scalar()) return item.value() == key;
           const Node* id = item.find("id");
           return id != nullptr && id->is_scalar() && id->value() == key;
         }) > 0;
}

/// "~a.b"
void remove_setting(Node& root, const std::string& text) {
  const Location where{cat("override ", text)};
  if (text.find('=') != std::string::npos) {
    throw base::ConfigError(cat("override '", text, "': ~ removes a key and takes no value; write it as ~key.sub_key"));
  }
  const std::vector<std::string> keys = keys_of(text.substr(1), text);
  Node* node = &root;
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    Node* child = node->is_list() ? item_with_id(*node, keys[i]) : node->find(keys[i]);
    if (child == nullptr) nothing_there(*node, keys[i], where);
    node = child;
  }
  if (!remove_child(*node, keys.back())) nothing_there(*node, keys.back(), where);
}

/// "+a.b=c": a key that is not there yet, or one more item of a list.
void add_setting(Node& node, Node value, const Location& where) {
  if (node.is_null()) {
    node = std::move(value);
    return;
  }
  if (!node.is_list()) {
    throw base::ConfigError(cat(where.text(), ": it is set already, to ",
                                node.is_scalar() ? node.value() : node.describe(), "; leave the + out to change it"));
  }
  std::vector<Node> added = value.is_list() ? value.items() : std::vector<Node>{value};
  for (Node& item : added) {
    const Node* id = item.find("id");
    if (id != nullptr && item_with_id(node, id->value()) != nullptr) {
      throw base::ConfigError(
          cat(where.text(), ": the list has an item '", id->value(), "' already; leave the + out to change it"));
    }
    node.items().push_back(std::move(item));
  }
}

}  // namespace

void apply_override(Node& root, const std::string& text) {
  if (base::starts_with(text, "~")) return remove_setting(root, text);
  const Location where{cat("override ", text)};
  const bool adds = base::starts_with(text, "+");
  const size_t begin = adds ? 1 : 0, equals = text.find('=');
  if (equals == std::string::npos || equals == begin) {
    throw base::ConfigError(cat("override '", text, "' must have the form key.sub_key=value",
                                " (+key.sub_key=value adds, ~key.sub_key removes)"));
  }
  Node value = Node::parse(text.substr(equals + 1), where.file);
  value.set_where(where);
  Node* node = &root;
  for (const std::string& key : keys_of(text.substr(begin, equals - begin), text)) {
    node = descend(*node, key, text, where);
  }
  if (adds) return add_setting(*node, std::move(value), where);
  *node = std::move(value);
}

}  // namespace rqat::pipeline
