// From a file to one tree: includes, overrides, ${references}.
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/shipped.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using base::Node;

/// Names by which fragments of the program's own configs/ are included.
std::vector<std::string> configs_in(const fs::path& shipped) {
  std::vector<std::string> names;
  if (shipped.empty()) return names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(shipped / "configs")) {
    if (entry.is_regular_file()) names.push_back(entry.path().lexically_relative(shipped / "configs").string());
  }
  return names;
}

[[noreturn]] void no_such_recipe(const fs::path& file) {
  std::vector<std::string> names;
  if (fs::is_directory(fs::absolute(file).parent_path())) {
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::absolute(file).parent_path())) {
      if (entry.path().extension() == ".yaml") names.push_back((file.parent_path() / entry.path().filename()).string());
    }
  }
  const std::string near = base::nearest(file.string(), names);
  throw base::ConfigError(cat(file.string(), ": no such recipe",
                              near.empty() ? ";" : cat("; did you mean '", near, "'?"),
                              " `rqat recipes ls` shows those that came with the program"));
}

fs::path find_include(const std::string& name, const fs::path& recipe, const base::Location& where) {
  std::vector<std::string> tried;
  fs::path folder = fs::absolute(recipe).parent_path();
  for (int level = 0; level < 6; ++level) {
    for (const fs::path& candidate : {folder / name, folder / "configs" / name}) {
      if (fs::is_regular_file(candidate)) return candidate;
    }
    tried.push_back(folder.string());
    if (!folder.has_relative_path()) break;
    folder = folder.parent_path();
  }
  const fs::path shipped = shipped_folder();
  if (!shipped.empty() && fs::is_regular_file(shipped / "configs" / name)) return shipped / "configs" / name;
  const std::string near = base::nearest(name, configs_in(shipped));
  throw base::ConfigError(cat(where.text(), ": include '", name, "' not found beside the recipe, nor in the folders ",
                              "above it (", base::join(tried, ", "), ") or their configs/",
                              near.empty() ? "" : cat("; did you mean '", near, "'?")));
}

Node read_with_includes(const fs::path& file, const base::Location& where, std::set<std::string>& open) {
  const std::string key = fs::weakly_canonical(file).string();
  if (!open.insert(key).second)
    throw base::ConfigError(cat(where.text(), ": include '", file.string(), "' leads back to itself"));
  Node own = Node::read(file);
  if (!own.is_map()) throw base::ConfigError(cat(file.string(), ": must be a map of keys, found ", own.describe()));
  Node merged = Node::map(own.where());
  if (const Node* includes = own.find("include")) {
    const std::vector<Node> names = includes->is_list() ? includes->items() : std::vector<Node>{*includes};
    for (const Node& name : names) {
      if (!name.is_scalar()) throw base::ConfigError(cat(name.where().text(), ": include: a file name is expected"));
      merged.merge(read_with_includes(find_include(name.value(), file, name.where()), name.where(), open));
    }
    own.erase("include");
  }
  merged.merge(own);
  open.erase(key);
  return merged;
}

const Node* look_up(const Node& root, const std::string& path) {
  const Node* node = &root;
  for (const std::string& key : base::split(path, '.')) {
    const Node* next = nullptr;
    if (node->is_map()) next = node->find(key);
    if (node->is_list()) {
      for (const Node& item : node->items()) {
        const Node* id = item.find("id");
        if (id != nullptr && id->value() == key) next = &item;
      }
    }
    if (next == nullptr) return nullptr;
    node = next;
  }
  return node;
}

std::string substitute(const std::string& text, const Node& root, const base::Location& where, int depth) {
  if (depth > 20) throw base::ConfigError(cat(where.text(), ": ${...} refers to itself: ", text));
  const size_t begin = text.find("${");
  if (begin == std::string::npos) return text;
  const size_t end = text.find('}', begin);
  if (end == std::string::npos) throw base::ConfigError(cat(where.text(), ": '${' without '}' in ", text));
  const std::string path = text.substr(begin + 2, end - begin - 2);
  const Node* found = look_up(root, path);
  if (found == nullptr || !found->is_scalar()) {
    throw base::ConfigError(cat(where.text(), ": ${", path, "} names no single value of this recipe"));
  }
  return substitute(text.substr(0, begin) + substitute(found->value(), root, where, depth + 1) + text.substr(end + 1),
                    root, where, depth + 1);
}

void substitute_all(Node& node, const Node& root, base::Faults& faults) {
  if (node.is_scalar() && node.value().find("${") != std::string::npos) {
    try {
      node = Node::scalar(substitute(node.value(), root, node.where(), 0), node.where(), node.quoted());
    } catch (const base::ConfigError& error) {
      faults.add({}, error.what());
    }
  }
  for (Node& item : node.items()) substitute_all(item, root, faults);
  for (Node::Entry& entry : node.entries()) substitute_all(entry.value, root, faults);
}

}  // namespace

Node resolve_recipe_tree(const fs::path& file, const std::vector<std::string>& overrides) {
  if (!fs::exists(file)) no_such_recipe(file);
  std::set<std::string> open;
  Node root = read_with_includes(file, {}, open);
  if (root.find("name") == nullptr) root.set("name", Node::scalar(file.stem().string()));
  if (root.find("output_dir") == nullptr) root.set("output_dir", Node::scalar("runs/${name}"));
  base::Faults faults;
  for (const std::string& text : overrides) {
    try {
      apply_override(root, text);
    } catch (const base::ConfigError& error) {
      faults.add({}, error.what());
    }
  }
  const Node before = root;
  substitute_all(root, before, faults);
  faults.raise(cat(file.string(), " cannot be run"));
  return root;
}

}  // namespace rqat::pipeline
