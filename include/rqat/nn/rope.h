// Angles of the rotary embedding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

namespace rqat::nn {

/// theta^(-2i / head_dim) for i < head_dim / 2, fp32 (2104.09864).
at::Tensor rope_inverse_frequency(int64_t head_dim, double theta, at::Device device);

/// (cos, sin) fp32 [T, E/2] of positions int64 [T].
std::pair<at::Tensor, at::Tensor> rope_tables(const at::Tensor& positions, const at::Tensor& inverse_frequency);

}  // namespace rqat::nn
