// What the files of a model hold, layer by layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace rqat::cli {

/// One tensor, or one quantised layer with its codes, scales and zero points together.
struct LayerRow {
  std::string name, format, shape;
  std::string scales;       ///< "min/mean/max", "" where there are none
  std::string zero_points;  ///< "0..3, mean 1.4", "" where there are none
  int64_t weights = 0, bytes = 0;
  double bits_per_weight() const {
    return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  }
};

/// Rows of a model folder (rqat's own quantised ones and compressed-tensors included), a .safetensors file or a GGUF
/// file, in the order of names. Sizes are those of the served model: masters of training are left out. Throws IoError.
std::vector<LayerRow> read_layer_rows(const std::filesystem::path& path);

}  // namespace rqat::cli
