// Recipes and configuration fragments that come with the program.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace rqat::pipeline {

/// The folder that holds recipes/ and configs/: share/rqat of the prefix that `program` is installed in, or the source
/// tree that it was built in (searched upwards from its folder). Empty path when there is neither.
std::filesystem::path shipped_folder(const std::filesystem::path& program);

/// The same for the running program.
std::filesystem::path shipped_folder();

struct ShippedRecipe {
  std::string name;            ///< path below recipes/ without ".yaml": "quickstart", "debug/full"
  std::filesystem::path file;  ///< absolute
  std::string about;           ///< first comment lines: how to run it and what it shows
};

/// All recipes below `folder`/recipes, by name.
std::vector<ShippedRecipe> shipped_recipes(const std::filesystem::path& folder);

}  // namespace rqat::pipeline
