// A small reader of compressed-tensors "pack-quantized" folders that shares no code with the writer.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "round_trip.h"

namespace rqat::exporting {

/// How config.json says that a layer is stored.
struct PackedScheme {
  int64_t num_bits = 0;
  bool symmetric = false;
  int64_t group_size = -1;  ///< -1 = one scale per row
};

/// The scheme of the linear called `name`: the first group of config.json whose targets match ("Linear", the exact
/// name, or "re:" and a pattern), unless `ignore` does. Throws IoError when there is none, or the fields are not this
/// format's.
PackedScheme scheme_of(const nlohmann::json& config, const std::string& name, const std::filesystem::path& file);

/// Codes int32 [rows, columns] of a dense bit stream int32 [rows, words]: code i of a row starts at bit i * num_bits,
/// low bits first. Rows of ceil(columns / (32 / num_bits)) words, where that is another number, are read as they were
/// packed before May 2026: whole codes in each word. Throws IoError on other numbers of words.
at::Tensor unpack_bits(const at::Tensor& words, int64_t num_bits, int64_t columns, const std::string& what);

/// One layer of the folder. Files of before August 2026 may have weight_g_idx int32 [K] (actorder: group). Throws
/// IoError on a missing tensor, a wrong dtype or shape, and when weight_g_idx does not give each group its group_size
/// inputs.
StoredLayer read_pack_quantized(const io::TensorSource& source, const PackedScheme& scheme, const std::string& name);

}  // namespace rqat::exporting
