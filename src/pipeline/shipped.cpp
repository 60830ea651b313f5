#include "rqat/pipeline/shipped.h"

#include <algorithm>

#include "rqat/base/files.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline {

namespace fs = std::filesystem;

namespace {

bool holds_recipes(const fs::path& folder) {
  return fs::is_directory(folder / "recipes") && fs::is_directory(folder / "configs");
}

/// The comment at the head of the file, without its '#'.
std::string head_comment(const fs::path& file) {
  std::vector<std::string> lines;
  for (const std::string& line : base::split(base::read_file(file), '\n')) {
    if (!base::starts_with(line, "#")) break;
    lines.push_back(base::trim(line.substr(1)));
  }
  return base::trim(base::join(lines, "\n"));
}

}  // namespace

fs::path shipped_folder(const fs::path& program) {
  fs::path folder = program.parent_path();
  for (int level = 0; level < 4 && !folder.empty(); ++level) {
    for (const fs::path& candidate : {folder / "share" / "rqat", folder}) {
      if (holds_recipes(candidate)) return candidate;
    }
    if (!folder.has_relative_path()) break;
    folder = folder.parent_path();
  }
  return {};
}

fs::path shipped_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path() : shipped_folder(program);
}

std::vector<ShippedRecipe> shipped_recipes(const fs::path& folder) {
  std::vector<ShippedRecipe> recipes;
  const fs::path root = folder / "recipes";
  if (folder.empty() || !fs::is_directory(root)) return recipes;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".yaml") continue;
    const std::string name = entry.path().lexically_relative(root).replace_extension().string();
    recipes.push_back({name, entry.path(), head_comment(entry.path())});
  }
  std::sort(recipes.begin(), recipes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return recipes;
}

}  // namespace rqat::pipeline
