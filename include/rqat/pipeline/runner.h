// Runs the stages of a recipe; knows nothing of any particular recipe.
#pragma once

#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

struct RunOptions {
  bool force = false;             ///< run every stage again
  std::vector<std::string> only;  ///< run just these stages (their inputs must exist); empty = all
};

/// Runs what is not yet done. A stage whose stage.json carries the fingerprint of the present settings and inputs is
/// kept. Writes recipe.yaml (resolved), run.json and report.html into the output folder, and prints the tables of
/// evaluations.
void run_recipe(const Recipe& recipe, const RunOptions& options);

}  // namespace rqat::pipeline
