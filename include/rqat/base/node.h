// A YAML document as a plain tree that knows where each part stands in its file. Recipes, includes and overrides
// all work on it; yaml-cpp stays behind src/base/node.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rqat::base {

/// Where a piece of configuration stands: "recipes/quickstart.yaml:12" or "override stages.kd.max_steps=10".
struct Location {
  std::string file;
  int line = 0;    ///< 1-based; 0 = no line (an override)
  int column = 0;  ///< 1-based
  std::string text() const;
};

/// One node: null, scalar, list or map (in file order).
class Node {
 public:
  enum class Kind { kNull, kScalar, kList, kMap };

  // Defined in the source file, where Entry is complete: its vector may be a member before, but not be destroyed.
  Node();
  ~Node();
  Node(const Node& other);
  Node(Node&& other) noexcept;
  Node& operator=(const Node& other);
  Node& operator=(Node&& other) noexcept;
  static Node scalar(std::string value, Location where = {}, bool quoted = false);
  static Node list();
  static Node list(std::vector<Node> items, Location where = {});
  static Node map(Location where = {});

  /// Parses YAML text. Throws ConfigError with file:line on a syntax fault or a duplicate key.
  static Node parse(std::string_view yaml, const std::string& file_name);
  /// Reads and parses a file. Throws ConfigError (missing, unreadable, syntax).
  static Node read(const std::filesystem::path& file);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_scalar() const { return kind_ == Kind::kScalar; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_map() const { return kind_ == Kind::kMap; }
  const Location& where() const { return where_; }
  void set_where(Location where) { where_ = std::move(where); }
  /// "a map", "a list", "the text 'abc'", "nothing": for messages.
  std::string describe() const;

  /// Scalar text, and whether it stood in quotes (then it is a string, never a number or null).
  const std::string& value() const { return value_; }
  bool quoted() const { return quoted_; }

  const std::vector<Node>& items() const { return items_; }
  std::vector<Node>& items() { return items_; }

  /// Map access. `find` returns nullptr when the key is absent.
  struct Entry;
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }
  const Node* find(std::string_view key) const;
  Node* find(std::string_view key);
  void set(const std::string& key, Node value, Location key_where = {});
  bool erase(std::string_view key);

  /// Merges `over` into this: maps by key, lists by the `id` of their items where all have one, all else replaces.
  void merge(const Node& over);

  /// YAML text that parses back to the same tree.
  std::string dump() const;

 private:
  Kind kind_ = Kind::kNull;
  Location where_;
  std::string value_;
  bool quoted_ = false;
  std::vector<Node> items_;
  std::vector<Entry> entries_;
};

struct Node::Entry {
  std::string key;
  Location where;  ///< of the key
  Node value;
};

}  // namespace rqat::base
