// Tokens of several sequences laid end to end: no padding, attention stays within segments.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
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

/// Plain documents one after the other, positions from `first_position` in each. Throws DataError when there is none or
/// one is empty.
TokenBatch make_token_batch(const std::vector<std::vector<int64_t>>& documents, int64_t first_position = 0);

/// How many first tokens all documents have in common, at most `limit`; 0 for fewer than two documents and where
/// sharing would not pay (fewer than 16 tokens).
int64_t shared_prefix(const std::vector<const std::vector<int64_t>*>& documents, int64_t limit);

/// A document and which of its tokens count: where mask[i] is not 0, token i is a target, predicted by the row of token
/// i - 1. A first token is never one.
struct MaskedDocument {
  const std::vector<int64_t>* ids;
  const std::vector<uint8_t>* mask;
};

/// Documents laid end to end for scoring. What all of them have in common before the first row that predicts a target
/// - a system prompt, say - is laid down once, as segment 0 and parent of the others; targets see what they would see
/// without that, so losses and gradients are the same, up to the order of sums.
struct TargetBatch {
  TokenBatch tokens;
  at::Tensor rows;     ///< int64 [R]: positions whose next token is a target, document by document
  at::Tensor targets;  ///< int64 [R]
  TargetBatch to(at::Device device) const;
};
/// Throws DataError when there is no document or one is empty.
TargetBatch make_target_batch(const std::vector<MaskedDocument>& documents);

/// Throws std::invalid_argument unless ids and positions are int64 [T], the segments cover 0..T in order without gaps,
/// none is empty, and each parent is an earlier segment.
void check_token_batch(const TokenBatch& batch);

}  // namespace rqat::nn
