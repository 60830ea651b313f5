// From G = dL/dw_hat, accumulated over micro-batches and ranks, to the gradients of what is trained: once per optimizer
// step.
#pragma once

#include <ATen/core/Tensor.h>

#include "rqat/base/registry.h"
#include "rqat/quant/format.h"

namespace rqat::quant {

struct EstimatorInput {
  at::Tensor gradient;  ///< G fp32 [N, K]; may be overwritten
  at::Tensor weight;    ///< fp32 master [N, K]
  QuantParams params;
  const QuantFormat* format = nullptr;
};

struct EstimatorGradients {
  at::Tensor weight;      ///< fp32 [N, K]
  at::Tensor scale;       ///< fp32 [N, G], undefined when the estimator trains no scale
  at::Tensor zero_point;  ///< fp32 [N, G], undefined when it trains no zero point
};

class Estimator {
 public:
  virtual ~Estimator() = default;
  virtual bool trains_scale() const { return false; }
  virtual bool trains_zero_point() const { return false; }
  /// True: a change of scale carries the master along (w / s stays), so that it changes no code.
  virtual bool holds_codes() const { return false; }
  virtual EstimatorGradients reduce(const EstimatorInput& input) const = 0;
};

/// Registry kind "estimators": ste (dw = G), clipped_ste (dw = G inside the range, else 0), lsq (clipped + learned
/// scale, gradient scale 1/sqrt(group elements * qmax); option learn_zero_point), held_codes (clipped + scales trained
/// with their codes held).
const base::Registry<Estimator>& estimators();

}  // namespace rqat::quant
