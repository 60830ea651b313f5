// Rope fields of config.json.
#pragma once

#include "config_reader.h"
#include "rqat/model/model_config.h"

namespace rqat::model {

/// Reads rope_theta, rope_scaling, rope_parameters, rope_local_base_freq, partial_rotary_factor and
/// original_max_position_embeddings into config.rope and, where it is there, config.local_rope. In files of
/// transformers 4 scaling applies to layers without a window only. `partial` = the family rotates a part of the head.
/// Throws IoError for a kind of scaling or a field of it that is not known.
void read_rope(const ConfigReader& reader, bool partial, ModelConfig& config);

}  // namespace rqat::model
