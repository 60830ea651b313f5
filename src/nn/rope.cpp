#include "rqat/nn/rope.h"

#include <ATen/ATen.h>

namespace rqat::nn {

at::Tensor rope_inverse_frequency(int64_t head_dim, double theta, at::Device device) {
  // In fp32, as transformers computes it: positions in the thousands multiply any difference.
  const at::Tensor exponent = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat).div(static_cast<double>(head_dim));
  return at::reciprocal(at::pow(theta, exponent)).to(device);
}

std::pair<at::Tensor, at::Tensor> rope_tables(const at::Tensor& positions, const at::Tensor& inverse_frequency) {
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * inverse_frequency.unsqueeze(0);
  return {angles.cos(), angles.sin()};
}

}  // namespace rqat::nn
