// The text of `rqat validate --explain KEY`.
#pragma once

#include <string>

#include "rqat/pipeline/recipe.h"

namespace rqat::cli {

/// What `key` means. A full path ("stages.kd.optimizer.adamw.learning_rate") is looked up in `recipe` and shown with
/// its value and place there; a bare key ("group_size") is shown for every part that has it. Throws UsageError when
/// nothing has it.
std::string explain_key(const std::string& key, const pipeline::Recipe* recipe);

}  // namespace rqat::cli
