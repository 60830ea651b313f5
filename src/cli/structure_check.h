// Faults that only the structure of the models shows: found on the meta device, without weights, before anything runs.
#pragma once

#include <string>
#include <vector>

#include "rqat/pipeline/recipe.h"

namespace rqat::cli {

struct StructureReport {
  std::vector<std::string>
      faults;  ///< policy patterns that match nothing, fused sets that differ, formats an export cannot hold, bad data
  std::vector<std::string> notes;    ///< what was built
  std::vector<std::string> missing;  ///< models and data that are not there, so that nothing could be looked at
};

/// Builds each `models:` entry that exists, checks the policies of the quantize stages below it and the formats of the
/// export stages, and the first record of each file of data. Throws IoError on a corrupt or unsupported config.json.
StructureReport check_structure(const pipeline::Recipe& recipe);

/// Throws ConfigError with the faults of check_structure, if any.
void require_sound_structure(const pipeline::Recipe& recipe);

}  // namespace rqat::cli
