// Shapes: N outputs, K inputs, B columns of a block.
#include "gptq_solver.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace rqat::ptq {

namespace {

constexpr double kLargestDamping = 1.0;

/// U = R^-1 where H = R R^T, R upper: one Cholesky factorization of the reversed matrix, and no inverse of H itself.
at::Tensor upper_factor(const at::Tensor& hessian) {
  const auto [lower, info] = at::linalg_cholesky_ex(hessian.flip({0, 1}));
  if (info.item<int>() != 0) return {};
  const at::Tensor identity = at::eye(hessian.size(0), hessian.options());
  const at::Tensor upper = at::linalg_solve_triangular(lower.flip({0, 1}), identity, /*upper=*/true);
  return at::isfinite(upper).all().item<bool>() ? upper : at::Tensor();
}

/// The columns of one block, in processing order.
struct Block {
  int64_t width = 0;
  const float* upper = nullptr;    // [B, B]
  const int64_t* group = nullptr;  // [B]: group of each column
  float max_code = 0;
};

/// One row of one block: `w` [B] becomes w_hat, `error` [B] what the columns after the block have to make up for.
void solve_row(const Block& block, const float* scale, const uint8_t* zero_point, float* w, float* error) {
  for (int64_t i = 0; i < block.width; ++i) {
    const float s = scale[block.group[i]], z = static_cast<float>(zero_point[block.group[i]]);
    const float code = std::clamp(std::nearbyint(w[i] / s) + z, 0.0F, block.max_code);
    const float w_hat = s * (code - z);
    const float* upper = block.upper + i * block.width;
    const float e = (w[i] - w_hat) / upper[i];
    for (int64_t j = i + 1; j < block.width; ++j) w[j] -= e * upper[j];
    w[i] = w_hat;
    error[i] = e;
  }
}

}  // namespace

InverseFactor factorize(const at::Tensor& hessian, const GptqOptions& options) {
  InverseFactor factor;
  if (!at::isfinite(hessian).all().item<bool>()) {
    factor.failure = "the calibration inputs are not finite";
    return factor;
  }
  const at::Tensor diagonal = hessian.diagonal();
  const at::Tensor dead = diagonal == 0;
  factor.dead_columns = dead.sum().item<int64_t>();
  factor.order = options.act_order ? at::argsort(diagonal, /*stable=*/true, /*dim=*/0, /*descending=*/true)
                                   : at::arange(hessian.size(0), diagonal.options().dtype(at::kLong));
  at::Tensor ordered = hessian.index_select(0, factor.order).index_select(1, factor.order);
  ordered.diagonal().add_(dead.index_select(0, factor.order).to(at::kFloat));
  const double mean = ordered.diagonal().mean().item<double>();
  for (double damping = options.damping; damping <= kLargestDamping; damping = std::max(2 * damping, 1e-3)) {
    at::Tensor damped = ordered.clone();
    damped.diagonal().add_(damping * mean);
    factor.upper = upper_factor(damped);
    factor.damping = damping;
    if (factor.upper.defined()) return factor;
  }
  factor.failure = "the Hessian has no Cholesky factor with any damping";
  return factor;
}

at::Tensor gptq_solve(const at::Tensor& weight, const InverseFactor& factor, const quant::QuantParams& params,
                      const quant::QuantFormat& format, int64_t block_size) {
  const int64_t rows = weight.size(0), columns = weight.size(1), groups = params.scale.size(1);
  at::Tensor rest = weight.index_select(1, factor.order);
  const at::Tensor group = factor.order.floor_divide(format.resolved_group(columns)).cpu();
  const at::Tensor scale = params.scale.cpu().contiguous(), zero_point = params.zero_point.cpu().contiguous();
  const float* scale_data = scale.const_data_ptr<float>();
  const uint8_t* zero_data = zero_point.const_data_ptr<uint8_t>();
  for (int64_t begin = 0; begin < columns; begin += block_size) {
    const int64_t end = std::min(begin + block_size, columns), width = end - begin;
    const at::Tensor upper = factor.upper.slice(0, begin, end);
    const at::Tensor corner = upper.slice(1, begin, end).cpu().contiguous();
    const at::Tensor w = rest.slice(1, begin, end).cpu().contiguous();
    const at::Tensor error = at::empty_like(w);
    const Block block{width, corner.const_data_ptr<float>(), group.const_data_ptr<int64_t>() + begin,
                      static_cast<float>(format.max_code())};
    float* w_data = w.mutable_data_ptr<float>();
    float* error_data = error.mutable_data_ptr<float>();
    at::parallel_for(0, rows, /*grain_size=*/8, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        solve_row(block, scale_data + row * groups, zero_data + row * groups, w_data + row * width,
                  error_data + row * width);
      }
    });
    rest.slice(1, begin, end).copy_(w);
    if (end < columns) rest.slice(1, end, columns).addmm_(error.to(rest.device()), upper.slice(1, end, columns), 1, -1);
  }
  return at::empty_like(rest).index_copy_(1, factor.order, rest);
}

}  // namespace rqat::ptq
