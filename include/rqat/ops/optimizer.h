// Fused optimizer steps over fp32 masters.
#pragma once

#include <ATen/core/Tensor.h>

namespace rqat::ops {

/// AdamW (1711.05101), one pass over memory, all fp32, in place:
///   m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2;  p = p (1 - lr wd) - lr mhat / (sqrt(vhat) + eps),  g' = grad *
///   grad_scale
/// `step` counts from 1.
void adamw_step(at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment, at::Tensor& second_moment,
                double learning_rate, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                double grad_scale);

/// Moments in 8 bits and a scale for each 256 values (dynamic quantisation, 2110.02861).
struct Moments8Bit {
  at::Tensor first, second;              ///< uint8, shape of the parameter
  at::Tensor first_scale, second_scale;  ///< fp32 [blocks of the flattened parameter]
};
/// All zero, on the parameter's device.
Moments8Bit zero_moments_8bit(const at::Tensor& parameter);
/// adamw_step with moments that are decoded before and encoded after it. `parameter` and `grad` are fp32.
void adamw_8bit_step(at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments, double learning_rate,
                     double beta1, double beta2, double eps, double weight_decay, int64_t step, double grad_scale);

/// Sum of squares in fp64; NaN and Inf propagate.
double sum_of_squares(const at::Tensor& tensor);

}  // namespace rqat::ops
