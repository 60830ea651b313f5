// Runs the stages of a recipe; knows nothing of any particular recipe.
#pragma once

#include "rqat/dist/communicator.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

/// What becomes of a stage that an earlier run left unfinished.
enum class Unfinished {
  kContinue,  ///< goes on from its newest checkpoint; starts anew when its settings or inputs changed since
  kInsist,    ///< the same, but a change is a ConfigError
  kRestart,   ///< starts anew
};

struct RunOptions {
  bool force = false;             ///< run every stage again
  std::vector<std::string> only;  ///< run just these stages (their inputs must exist); empty = all
  Unfinished unfinished = Unfinished::kContinue;
  std::string command = "";                   ///< how a person goes on with this run, for messages
  dist::Communicator* world = &dist::solo();  ///< the ranks that run the recipe together; the output folder is shared
};

/// Runs what is not yet done. A stage whose stage.json carries the fingerprint of the present settings and inputs is
/// kept. Writes recipe.yaml (resolved), run.json and report.html into the output folder, and prints the tables of
/// evaluations. Throws Interrupted when a stop was asked for; what was finished or saved by then is gone on from by the
/// next call. With several ranks all call it; the main one alone writes, prints and reports. Throws ConfigError when
/// they do not see one output folder.
void run_recipe(const Recipe& recipe, const RunOptions& options);

}  // namespace rqat::pipeline
