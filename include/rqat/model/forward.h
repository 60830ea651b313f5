// A whole forward pass in one call, for `rqat forward` and comparisons with other programs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rqat/model/causal_lm.h"

namespace rqat::model {

/// fp32 logits [B, L, V] of B token lists of one length L, no gradient. All logits are kept: for small inputs only.
/// Throws DataError when there is no list, one is empty, or lengths differ.
at::Tensor forward_logits(CausalLM& model, const std::vector<std::vector<int64_t>>& ids);

}  // namespace rqat::model
