// Matrix products with fp32 accumulation AND fp32 results where precision matters: logits and weight gradients.
// On CPU these run on oneDNN's brgemm micro-kernels (AVX-512-BF16, AMX) through at::native::cpublas::brgemm, elsewhere
// on at::matmul.
#pragma once

#include <ATen/core/Tensor.h>

namespace rqat::ops {

/// A weight [N, K] laid out once for repeated products (VNNI tiles on CPU; the plain tensor elsewhere).
struct PreparedWeight {
  at::Tensor plain;  ///< the tensor itself [N, K]
  at::Tensor tiles;  ///< undefined where not used
};
PreparedWeight prepare_weight(const at::Tensor& weight);

/// x [M, K] * weight[begin:end]^T -> fp32 [M, end - begin]; x and weight of one dtype (bfloat16 or float32).
at::Tensor matmul_nt_float(const at::Tensor& x, const PreparedWeight& weight, int64_t begin = 0, int64_t end = -1);

/// accumulator [N, K] fp32 += a^T b, for a [M, N] and b [M, K] of one dtype (bfloat16 or float32): the weight gradient
/// of y = x W^T with a = dy, b = x.
void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b);

/// x [..., K] weight [N, K] (+ bias) -> [..., N] in x's dtype, no autograd: at::linear with the fastest path for small
/// M.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace rqat::ops
