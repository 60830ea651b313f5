#include "one_stage.h"

#include <nlohmann/json.hpp>

#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/stage.h"
#include "rqat/pipeline/version.h"
#include "structure_check.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;

const base::Location& command_line() {
  static const base::Location where{"command line"};
  return where;
}

}  // namespace

base::Node map_node(std::vector<std::pair<std::string, base::Node>> entries) {
  base::Node map = base::Node::map(command_line());
  for (auto& [key, value] : entries) map.set(key, std::move(value), command_line());
  return map;
}

base::Node text_node(const std::string& text) { return base::Node::scalar(text, command_line(), true); }

base::Node number_node(int64_t number) { return base::Node::scalar(std::to_string(number), command_line()); }

void run_one_stage(const base::Node& recipe_tree, const std::string& command, const fs::path& folder,
                   const std::string& device) {
  const pipeline::Recipe recipe = pipeline::read_recipe(recipe_tree, base::cat("rqat ", command));
  require_sound_structure(recipe);
  const pipeline::StageEntry& entry = recipe.stages.front();
  base::write_folder(folder, [&](const fs::path& temporary) {
    nlohmann::json summary = nlohmann::json::object();
    pipeline::StageRun run{recipe,
                           entry.id,
                           temporary,
                           pipeline::pick_device(device),
                           static_cast<uint64_t>(recipe.seed),
                           [&](const std::string& id) { return fs::path(recipe.models.at(id).path); },
                           [&](const std::string& id) { return base::content_hash(recipe.models.at(id).path); },
                           [&](const std::string& id) { return recipe.models.count(id) > 0; },
                           "",
                           &summary};
    entry.stage->run(run);
    io::write_json(temporary / "stage.json", {{"id", entry.id},
                                              {"type", entry.type},
                                              {"makes", entry.stage->makes()},
                                              {"finished", true},
                                              {"settings", recipe.resolved.dump()},
                                              {"summary", summary},
                                              {"version", pipeline::kVersion}});
  });
}

}  // namespace rqat::cli
