#include "rqat/base/node.h"

#include <algorithm>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

const std::string* id_of(const Node& item) {
  const Node* id = item.is_map() ? item.find("id") : nullptr;
  return id != nullptr && id->is_scalar() ? &id->value() : nullptr;
}

bool all_have_ids(const std::vector<Node>& items) {
  return !items.empty() &&
         std::all_of(items.begin(), items.end(), [](const Node& item) { return id_of(item) != nullptr; });
}

void merge_by_id(std::vector<Node>& items, const std::vector<Node>& over) {
  for (const Node& item : over) {
    const auto same =
        std::find_if(items.begin(), items.end(), [&](const Node& old) { return *id_of(old) == *id_of(item); });
    if (same == items.end()) {
      items.push_back(item);
    } else {
      same->merge(item);
    }
  }
}

}  // namespace

std::string Location::text() const { return line > 0 ? cat(file, ":", line) : file; }

Node::Node() = default;
Node::~Node() = default;
Node::Node(const Node& other) = default;
Node::Node(Node&& other) noexcept = default;
Node& Node::operator=(const Node& other) = default;
Node& Node::operator=(Node&& other) noexcept = default;

Node Node::scalar(std::string value, Location where, bool quoted) {
  Node node;
  node.kind_ = Kind::kScalar;
  node.value_ = std::move(value);
  node.where_ = std::move(where);
  node.quoted_ = quoted;
  return node;
}

Node Node::list() { return list({}, {}); }
Node Node::list(std::vector<Node> items, Location where) {
  Node node;
  node.kind_ = Kind::kList;
  node.items_ = std::move(items);
  node.where_ = std::move(where);
  return node;
}

Node Node::map(Location where) {
  Node node;
  node.kind_ = Kind::kMap;
  node.where_ = std::move(where);
  return node;
}

Node Node::read(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_file(file);
  } catch (const IoError& error) {
    throw ConfigError(error.what());
  }
  return parse(text, file.string());
}

std::string Node::describe() const {
  constexpr size_t kLongest = 60;
  switch (kind_) {
    case Kind::kMap:
      return "a map";
    case Kind::kList:
      return "a list";
    case Kind::kScalar:
      break;
    case Kind::kNull:
      return "nothing";
  }
  return cat("the text '", value_.size() > kLongest ? value_.substr(0, kLongest) + "..." : value_, "'");
}

const Node* Node::find(std::string_view key) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries_.end() ? nullptr : &found->value;
}

Node* Node::find(std::string_view key) { return const_cast<Node*>(std::as_const(*this).find(key)); }

void Node::set(const std::string& key, Node value, Location key_where) {
  if (is_null()) kind_ = Kind::kMap;
  if (Node* old = find(key)) {
    *old = std::move(value);
  } else {
    entries_.push_back({key, std::move(key_where), std::move(value)});
  }
}

bool Node::erase(std::string_view key) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; }) > 0;
}

void Node::merge(const Node& over) {
  if (is_map() && over.is_map()) {
    for (const Entry& entry : over.entries_) {
      if (Node* old = find(entry.key)) {
        old->merge(entry.value);
      } else {
        entries_.push_back(entry);
      }
    }
  } else if (is_list() && over.is_list() && all_have_ids(items_) && all_have_ids(over.items_)) {
    merge_by_id(items_, over.items_);
  } else {
    *this = over;
  }
}

}  // namespace rqat::base
