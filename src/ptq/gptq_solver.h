// GPTQ (2210.17323) on one weight: columns are rounded one after another, and what is not yet rounded makes up for the
// error of what is, so that ||(w_hat - w) X|| stays small.
//
//   H = 2/n X X^T + damping * mean(diag H) * I,   U upper with H^-1 = U^T U
//   column i:  q = rounded w_i,  e = (w_i - q) / U_ii,  w_j -= e U_ij for j > i
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "rqat/quant/format.h"

namespace rqat::ptq {

struct GptqOptions {
  int64_t block_size = 128;  ///< columns between two updates of the rest of the matrix
  double damping = 0.01;     ///< first try; doubled while the Cholesky factorisation fails, up to 1
  bool act_order = true;     ///< columns in descending diag H
  /// Groups are of neighboring inputs; false: of columns that follow one another in that order (gptq_layer).
  bool static_groups = true;
};

/// U of one Hessian: serves every linear that reads this input.
struct InverseFactor {
  at::Tensor order;  ///< int64 [K]: the column that comes i-th
  at::Tensor upper;  ///< fp32 [K, K], columns in that order; undefined when there is none
  double damping = 0;
  int64_t dead_columns = 0;  ///< inputs that are always 0; these columns are just rounded
  std::string failure;       ///< why there is no factor, or ""
};

InverseFactor factorize(const at::Tensor& hessian, const GptqOptions& options);

/// w_hat fp32 [N, K] on the grid of `params`, which were found from the weight in its own order (static groups), so the
/// result needs no group index. weight fp32 [N, K].
at::Tensor gptq_solve(const at::Tensor& weight, const InverseFactor& factor, const quant::QuantParams& params,
                      const quant::QuantFormat& format, int64_t block_size);

}  // namespace rqat::ptq
