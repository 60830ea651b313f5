// GPTQ once more, as plainly as can be: one column at a time, fp64, no blocks, the inverse Hessian written out and
// updated by Gaussian elimination (as Optimal Brain Quantization describes it) instead of a Cholesky factor.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "rqat/quant/format.h"

namespace rqat::ptq {

struct PlainResult {
  at::Tensor codes;  ///< uint8 [N, K]
  double nearest_tie =
      1;  ///< how near any w / s came to a rounding boundary; codes are only certain well above fp32 noise
};

inline PlainResult plain_gptq(const at::Tensor& weight, const at::Tensor& hessian, const quant::QuantParams& params,
                              const quant::QuantFormat& format, double damping, bool act_order) {
  const int64_t rows = weight.size(0), columns = weight.size(1), group = format.resolved_group(columns);
  at::Tensor h = hessian.to(at::kDouble).clone();
  std::vector<int64_t> order(static_cast<size_t>(columns));
  std::iota(order.begin(), order.end(), 0);
  if (act_order) {
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return h[a][a].item<double>() > h[b][b].item<double>(); });
  }
  for (int64_t k = 0; k < columns; ++k) {
    if (h[k][k].item<double>() == 0) h[k][k] = 1;
  }
  const double mean = h.diagonal().mean().item<double>();
  h.diagonal().add_(damping * mean);
  at::Tensor inverse = at::linalg_inv(h), w = weight.to(at::kDouble).clone();
  PlainResult result{at::zeros({rows, columns}, at::kByte)};
  for (const int64_t k : order) {
    const double pivot = inverse[k][k].item<double>();
    for (int64_t n = 0; n < rows; ++n) {
      const double s = params.scale[n][k / group].item<double>(), z = params.zero_point[n][k / group].item<double>();
      const double ratio = w[n][k].item<double>() / s, top = static_cast<double>(format.max_code());
      const double raw = std::nearbyint(ratio) + z;
      if (ratio + z > -0.4 && ratio + z < top + 0.4) {
        result.nearest_tie = std::min(result.nearest_tie, 0.5 - std::fabs(ratio - std::nearbyint(ratio)));
      }
      const double code = std::clamp(raw, 0.0, top);
      result.codes[n][k] = static_cast<int64_t>(code);
      w[n].sub_(inverse[k] * ((w[n][k].item<double>() - s * (code - z)) / pivot));
    }
    inverse = inverse - at::outer(inverse.select(1, k), inverse[k]) / pivot;
    // Exactly, so that rounding errors never move a column again that is done.
    inverse.select(1, k).zero_();
    inverse[k].zero_();
  }
  return result;
}

}  // namespace rqat::ptq
