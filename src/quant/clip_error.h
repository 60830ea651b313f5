// How far a weight is from its quantised self: the measure of the clip search, which tries some eighty ranges per
// group.
#pragma once

#include <ATen/core/Tensor.h>

#include "rqat/ops/cpu.h"
#include "rqat/quant/format.h"

namespace rqat::quant {

/// sum over each group of importance * |w_hat - w|^power, fp32 [N, G]; `weight` fp32 [N, K], `importance` fp32 [K] or
/// undefined; power in (0, 4]. On CPU one pass with a power function good to about 1e-6, the same bits at every level
/// of kernels.
at::Tensor clip_error(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format, double power,
                      const at::Tensor& importance);

/// The same as a composition of tensor operations: what other devices run.
at::Tensor composed_clip_error(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format,
                               double power, const at::Tensor& importance);

/// The CPU kernel at a given level, for tests.
at::Tensor clip_error_at(ops::CpuKernels level, const at::Tensor& weight, const QuantParams& params,
                         const QuantFormat& format, double power, const at::Tensor& importance);

}  // namespace rqat::quant
