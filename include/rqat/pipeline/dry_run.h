// What a recipe would do and need, without doing it.
#pragma once

#include <string>

#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

/// The resolved recipe, the stages in their order with what each reads, and per stage tokens, memory, disk and time.
/// Times come from probes: a few steps of the stage on models of one and two blocks with random weights, whose
/// difference is the cost of a block. Ends with the memory of the device and the free disk space. Nothing is written
/// into the output folder. Throws what loading a tokenizer or data throws.
std::string dry_run(const Recipe& recipe);

}  // namespace rqat::pipeline
