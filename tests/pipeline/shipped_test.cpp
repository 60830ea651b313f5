#include "rqat/pipeline/shipped.h"

#include <gtest/gtest.h>

#include "pipeline/recipe_text.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {
namespace {

namespace fs = std::filesystem;

TEST(Shipped, FoundInAPrefixAndInASourceTree) {
  const RecipeFolder folder;
  folder.write("prefix/share/rqat/recipes/a.yaml", "# rqat train\n# more\nname: a\n");
  folder.write("prefix/share/rqat/configs/c.yaml", "");
  folder.write("tree/recipes/debug/b.yaml", "name: b\n");
  folder.write("tree/configs/c.yaml", "");
  EXPECT_EQ(shipped_folder(folder.path() / "prefix/bin/rqat"), folder.path() / "prefix/share/rqat");
  EXPECT_EQ(shipped_folder(folder.path() / "tree/build/rqat"), folder.path() / "tree");
  EXPECT_EQ(shipped_folder("/rqat"), fs::path());
  const std::vector<ShippedRecipe> recipes = shipped_recipes(folder.path() / "prefix/share/rqat");
  ASSERT_EQ(recipes.size(), 1u);
  EXPECT_EQ(recipes[0].name, "a");
  EXPECT_EQ(recipes[0].about, "rqat train\nmore");
  EXPECT_EQ(shipped_recipes(folder.path() / "tree").at(0).name, "debug/b");
  EXPECT_TRUE(shipped_recipes({}).empty());
}

/// The test program lies in the build folder of the source tree.
TEST(Shipped, ARecipeElsewhereIncludesTheProgramsFragments) {
  const RecipeFolder folder;
  const fs::path file = folder.write("mine.yaml", "include: quant/w2_g64.yaml\nname: mine\n");
  EXPECT_NE(resolve_recipe_tree(file, {}).find("quant"), nullptr);
  const fs::path wrong = folder.write("wrong.yaml", "include: quant/w2_g46.yaml\n");
  expect_contains(message_of<base::ConfigError>([&] { resolve_recipe_tree(wrong, {}); }),
                  "did you mean 'quant/w2_g64.yaml'?");
  expect_contains(message_of<base::ConfigError>([&] { resolve_recipe_tree(folder.path() / "mien.yaml", {}); }),
                  "no such recipe; did you mean '" + file.string() + "'?");
}

}  // namespace
}  // namespace rqat::pipeline
