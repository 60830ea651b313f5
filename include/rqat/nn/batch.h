// Tokens of several sequences laid end to end: no padding, attention stays within segments.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "rqat/ops/transformer.h"

namespace rqat::nn {

using ops::Segment;

struct TokenBatch {
  at::Tensor ids;        ///< int64 [T]
  at::Tensor positions;  ///< int64 [T]; a segment with a parent continues the parent's positions
  std::vector<Segment> segments;
  int64_t size() const { return ids.size(0); }
  TokenBatch to(at::Device device) const;
};

/// Plain documents one after the other, positions from 0 in each.
TokenBatch make_token_batch(const std::vector<std::vector<int64_t>>& documents);

}  // namespace rqat::nn
