// Walks over rows in tiles, so that logits exist for a bounded number of rows at a time.
#pragma once

#include <ATen/ATen.h>

#include "rqat/base/pulse.h"
#include "rqat/objective/objective.h"

namespace rqat::objective {

/// Calls tile(begin, end) over all rows.
template <class Function>
void for_each_tile(int64_t rows, int64_t vocab_size, Function tile) {
  const int64_t step = tile_rows(vocab_size);
  for (int64_t begin = 0; begin < rows; begin += step) {
    base::pulse();
    tile(begin, std::min(rows, begin + step));
  }
}

/// fp32 logits of rows begin..end.
at::Tensor tile_logits(const at::Tensor& hidden, const Head& head, int64_t begin, int64_t end);

/// Sends dL/dlogits (fp32) of a tile on to the hidden states and, when trained, to the head.
void backpropagate_tile(const at::Tensor& logits_grad, const at::Tensor& hidden, const Head& head, int64_t begin,
                        int64_t end, at::Tensor& grad_hidden);

/// row_weight / normalizer of rows begin..end, as fp32.
at::Tensor tile_weights(const ObjectiveInput& input, int64_t begin, int64_t end);

/// The first `count` columns: padded vocabularies (151,936 against 152,064 in the Qwen family) are compared in what
/// both have.
inline at::Tensor leading_columns(const at::Tensor& logits, int64_t count) {
  return count < logits.size(1) ? logits.slice(1, 0, count).contiguous() : logits;
}

/// Sum of rows * weights; a row of weight 0 does not count, even when it is not finite.
double weighted_sum(const at::Tensor& rows, const at::Tensor& weights);

/// Adds loss and metrics of a tile. `loss` and `entropy` [rows] come without weights, which are those of tile_weights;
/// metrics `loss_name`, "entropy" and "rows" are sums, undone of the normalizer.
void add_tile(ObjectiveOutput& output, const at::Tensor& loss, const at::Tensor& entropy, const at::Tensor& weights,
              double normalizer, const char* loss_name);

}  // namespace rqat::objective
