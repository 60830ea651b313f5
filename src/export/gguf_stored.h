// A GGUF file through a reader that shares no code with the writer of its blocks.
#pragma once

#include "round_trip.h"
#include "rqat/io/gguf.h"

namespace rqat::exporting {

/// A layer stored as blocks, or as some rows of them. Where a type keeps steps q - z and no zero points, the layer's
/// own zero points turn them into codes. Throws IoError: missing, another shape, a type that is not read here, blocks
/// of one group that differ.
StoredLayer read_block_layer(const io::GgufReader& reader, const model::ModelConfig& config,
                             const quant::FakeQuantLinear& layer, const StoredRows& place);

/// A float tensor by its Hugging Face name. `places` of all linears.
at::Tensor read_float_tensor(const io::GgufReader& reader, const model::ModelConfig& config, const std::string& name,
                             const std::map<std::string, StoredRows>& places);

/// Sizes and constants as the file's metadata give them; what GGUF does not hold is as in `like`. Throws IoError.
model::ModelConfig stored_config(const io::GgufReader& reader, const model::ModelConfig& like);

}  // namespace rqat::exporting
