// Products on bf16 brgemm. All need has_bf16_brgemm() and contiguous bf16 CPU matrices.
#pragma once

#include "cpu/dense.h"

namespace rqat::ops::cpu {

constexpr int64_t kTileRows = 64;  ///< rows of a weight in a tile

/// [N, K] -> [ceil(N / 64)][ceil(K / 2)][64][2], rows and columns beyond the matrix 0.
at::Tensor pack_tiles(const DenseKernels& kernels, const at::Tensor& weight);

/// x [M, K] times rows begin..end-1 of the packed weight, transposed -> fp32 [M, end - begin].
at::Tensor matmul_tiles(const at::Tensor& x, const at::Tensor& tiles, int64_t begin, int64_t end);

/// accumulator [N, K] fp32 += a^T b for a [M, N], b [M, K].
void accumulate_tn(const DenseKernels& kernels, at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b);

/// x [M, K] weight [N, K] (+ bias) -> bf16 [M, N] for small M: the weight is read where it lies, as the left factor.
at::Tensor linear_few_rows(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias);

}  // namespace rqat::ops::cpu
