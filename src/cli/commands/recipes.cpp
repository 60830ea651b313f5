#include <iostream>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/cli/command.h"
#include "rqat/pipeline/shipped.h"
#include "support.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;
using base::cat;

struct RecipesOptions : base::Config {
  std::string action = "ls", name, to;
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override {
    v.choice("action", action, {"ls", "show", "cp"}, "ls: list them; show: print one; cp: copy one to change it");
    v.field("name", name, "a recipe as `rqat recipes ls` names it (show, cp)");
    v.field("to", to, "file to write (cp); default: its own name in the present folder");
    v.field("overwrite", overwrite, "replace the file that stands there (cp)");
  }
  std::vector<std::string> check() const override {
    if (action != "ls" && name.empty()) return {cat(action, " needs the NAME of a recipe")};
    if (action == "ls" && !name.empty()) return {cat("ls takes no name; `rqat recipes show ", name, "` prints one")};
    if (action != "cp" && !to.empty()) return {cat("only cp takes a file to write, not ", action)};
    return {};
  }
};

class Recipes : public Command {
 public:
  explicit Recipes(RecipesOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "The recipes that came with the program, wherever it is called from. A copy can be changed freely: what "
        "it includes is found beside it, or else among the files of the program.",
        {"rqat recipes ls", "rqat recipes show quickstart", "rqat recipes cp quickstart mine.yaml"},
        {"action", "name", "to"}};
  }

  void run() override {
    const fs::path folder = pipeline::shipped_folder();
    recipes_ = pipeline::shipped_recipes(folder);
    if (recipes_.empty()) {
      throw base::IoError(
          "no recipes came with this program: neither share/rqat beside its bin/, nor a source tree around it");
    }
    if (options_.action == "ls") return list(folder);
    const pipeline::ShippedRecipe& recipe = find();
    if (options_.action == "show") {
      std::cout << base::read_file(recipe.file);
    } else {
      copy(recipe);
    }
  }

 private:
  void list(const fs::path& folder) const {
    for (const pipeline::ShippedRecipe& recipe : recipes_)
      std::cout << recipe.name << "  " << cost(recipe) << "\n  " << first_sentence(recipe) << "\n";
    std::cout << "\nin " << (folder / "recipes").string() << "; `rqat recipes cp NAME` copies one here\n";
  }

  /// The head comment's first line without the command, which every recipe has: "(2 CPU cores: under 30 min)".
  static std::string cost(const pipeline::ShippedRecipe& recipe) {
    const std::string line = base::split(recipe.about, '\n').front();
    const size_t bracket = line.find('(');
    return bracket == std::string::npos ? line : line.substr(bracket);
  }

  /// Of the paragraph that follows the commands.
  static std::string first_sentence(const pipeline::ShippedRecipe& recipe) {
    const std::string& about = recipe.about;
    const size_t gap = about.find("\n\n");
    if (gap == std::string::npos) return "";
    const std::string text = base::replace_all(about.substr(gap + 2), "\n", " ");
    const size_t end = std::min(text.find(". "), text.size() - 1);
    return text.substr(0, end + 1);
  }

  const pipeline::ShippedRecipe& find() const {
    std::string name = options_.name;
    if (name.ends_with(".yaml")) name.resize(name.size() - 5);
    if (base::starts_with(name, "recipes/")) name.erase(0, 8);
    std::vector<std::string> names;
    for (const pipeline::ShippedRecipe& recipe : recipes_) {
      if (recipe.name == name) return recipe;
      names.push_back(recipe.name);
    }
    const std::string near = base::nearest(name, names);
    throw base::UsageError(cat("no recipe '", options_.name, "' came with the program",
                               near.empty() ? "" : cat("; did you mean '", near, "'?"), " (there are ",
                               base::join(names, ", "), ")"));
  }

  void copy(const pipeline::ShippedRecipe& recipe) const {
    fs::path target = options_.to.empty() ? recipe.file.filename() : fs::path(options_.to);
    if (fs::is_directory(target)) target /= recipe.file.filename();
    if (fs::exists(target) && !options_.overwrite) {
      throw base::UsageError(cat(target.string(), " exists; name another file, or replace it with --overwrite"));
    }
    if (target.has_parent_path()) fs::create_directories(target.parent_path());
    base::write_file(target, base::read_file(recipe.file));
    std::cout << target.string() << ": copied; `rqat validate --config " << target.string() << "` checks it\n";
  }

  RecipesOptions options_;
  std::vector<pipeline::ShippedRecipe> recipes_;
};

}  // namespace

base::Entry<Command> recipes_entry() {
  return base::make_entry<base::Entry<Command>, RecipesOptions>(
      "recipes", "list, show or copy the recipes that came with the program", "",
      [](const RecipesOptions& options) { return std::make_unique<Recipes>(options); });
}

}  // namespace rqat::cli
