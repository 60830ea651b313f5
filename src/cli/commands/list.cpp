#include <algorithm>
#include <iostream>

#include "kinds.h"
#include "reference.h"
#include "rqat/base/files.h"
#include "rqat/cli/command.h"
#include "support.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;
using base::cat;

struct ListOptions : base::Config {
  std::string kind, name, markdown;
  void fields(base::FieldVisitor& v) override {
    v.field("kind", kind, "stages, tasks, objectives, ... or recipes; without it all kinds are shown");
    v.field("name", name, "one part of the kind: its settings with type, default and range");
    v.field("markdown", markdown, "folder to write all of it to, as the pages of docs/reference");
  }
};

class List : public Command {
 public:
  explicit List(ListOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {"Shows the parts that recipes can name and their settings, and the recipes below the present folder.",
            {"rqat list", "rqat list objectives", "rqat list initializers gptq", "rqat list recipes",
             "rqat list --markdown docs/reference"},
            {"kind", "name"}};
  }

  void run() override {
    if (!options_.markdown.empty()) return write_reference();
    if (options_.kind.empty()) return list_all();
    if (options_.kind == "recipes") return list_recipes();
    const base::RegistryBase* registry = find_kind(options_.kind);
    if (registry == nullptr) throw base::UsageError(unknown_kind());
    if (options_.name.empty()) {
      std::cout << entries(*registry);
      return;
    }
    const base::EntryInfo* info = registry->find_info(options_.name);
    if (info == nullptr) throw base::UsageError(registry->unknown_text(options_.name));
    std::cout << info->name << ": " << info->help << source(*info) << "\n";
    const std::string help = base::help_text(*info->make_config());
    std::cout << (help.empty() ? "  no settings\n" : help);
  }

 private:
  void write_reference() const {
    fs::create_directories(options_.markdown);
    const std::map<std::string, std::string> pages = reference_pages();
    for (const auto& [name, text] : pages) base::write_file(fs::path(options_.markdown) / name, text);
    std::cout << options_.markdown << ": " << pages.size() << " pages\n";
  }

  static std::string source(const base::EntryInfo& info) {
    return info.paper.empty() ? "" : cat(" (arXiv ", info.paper, ")");
  }

  static std::string entries(const base::RegistryBase& registry) {
    std::vector<std::vector<std::string>> rows;
    for (const base::EntryInfo* info : registry.infos())
      rows.push_back({cat("  ", info->name), info->help + source(*info)});
    return cat(registry.kind(), ":\n", table_text(rows));
  }

  static void list_all() {
    for (const base::RegistryBase* registry : all_kinds()) std::cout << entries(*registry) << "\n";
    std::cout << "`rqat list KIND NAME` shows the settings of one of them; `rqat recipes ls` the recipes that came "
                 "with the program.\n";
  }

  std::string unknown_kind() const {
    std::vector<std::string> kinds{"recipes"};
    for (const base::RegistryBase* registry : all_kinds()) kinds.push_back(registry->kind());
    const std::string near = base::nearest(options_.kind, kinds);
    return cat("unknown kind '", options_.kind, "'", near.empty() ? "" : cat("; did you mean '", near, "'?"),
               " (one of ", base::join(kinds, ", "), ")");
  }

  /// The first comment line says how to run a recipe.
  static void list_recipes() {
    std::vector<std::vector<std::string>> rows;
    if (fs::is_directory("recipes")) {
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator("recipes")) {
        if (entry.path().extension() != ".yaml") continue;
        const std::string first = base::split(base::read_file(entry.path()), '\n').front();
        rows.push_back({entry.path().string(), base::starts_with(first, "#") ? base::trim(first.substr(1)) : ""});
      }
    }
    if (rows.empty())
      throw base::UsageError(
          "no recipes/*.yaml below the present folder; `rqat recipes ls` shows those that came with the program");
    std::sort(rows.begin(), rows.end());
    std::cout << table_text(rows);
  }

  ListOptions options_;
};

}  // namespace

base::Entry<Command> list_entry() {
  return base::make_entry<base::Entry<Command>, ListOptions>(
      "list", "show the parts that recipes can name, and their settings", "",
      [](const ListOptions& options) { return std::make_unique<List>(options); });
}

}  // namespace rqat::cli
