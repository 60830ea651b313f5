// Readers of GPTQ, AWQ and MLX layers that share no code with their writers.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "round_trip.h"

namespace rqat::exporting {

/// A GPTQ layer: qweight int32 [K b / 32, N], qzeros int32 [G, N b / 32], scales [G, N], g_idx int32 [K].
/// `group_size` > 0: inputs that share a scale. `zeros_minus_one`: the file keeps z - 1 (checkpoint_format "gptq").
/// Throws IoError on a missing tensor, a wrong dtype or shape, and when g_idx does not give each group its `group_size`
/// inputs.
StoredLayer read_gptq(const io::TensorSource& source, const std::string& name, int64_t num_bits, int64_t group_size,
                      bool zeros_minus_one);

/// An AWQ (GEMM) layer: qweight int32 [K, N / 8], qzeros int32 [G, N / 8], scales [G, N]; 4 bits, nibble i of a word
/// holds column [0, 2, 4, 6, 1, 3, 5, 7][i] of eight.
StoredLayer read_awq(const io::TensorSource& source, const std::string& name, int64_t group_size);

/// An MLX layer: weight uint32 [N, K b / 32], scales and biases [N, K / g]; W = scales q + biases. Zero points are
/// those that the biases stand for.
StoredLayer read_mlx(const io::TensorSource& source, const std::string& name, int64_t num_bits);

}  // namespace rqat::exporting
