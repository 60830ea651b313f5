// Commands that are one stage of a recipe (quantize, evaluate): the recipe is made from the options, so that settings,
// checks and results are those of the stage.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "rqat/base/fields.h"

namespace rqat::cli {

/// A map node; where = "command line".
base::Node map_node(std::vector<std::pair<std::string, base::Node>> entries);
base::Node text_node(const std::string& text);
base::Node number_node(int64_t number);

/// Checks the recipe `{models, data, quant, stages: [stage]}` and runs its one stage into `folder`, which appears whole
/// or not at all. `model` paths must be folders. Writes stage.json. Throws ConfigError and what the stage throws.
void run_one_stage(const base::Node& recipe_tree, const std::string& command, const std::filesystem::path& folder,
                   const std::string& device);

}  // namespace rqat::cli
