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

/// Appends one segment of zero tokens so that the size becomes a multiple of `multiple`: matrix kernels are compiled
/// and cached by shape, and training would otherwise meet a new shape every step. Attention never crosses segments, so
/// nothing else changes.
void pad_token_batch(TokenBatch& batch, int64_t multiple);

/// Plain documents one after the other, positions from 0 in each. Throws DataError when there is none or one is empty.
TokenBatch make_token_batch(const std::vector<std::vector<int64_t>>& documents);

/// Throws std::invalid_argument unless ids and positions are int64 [T], the segments cover 0..T in order without gaps,
/// none is empty, and each parent is an earlier segment without a parent of its own.
void check_token_batch(const TokenBatch& batch);

}  // namespace rqat::nn
