// Row-wise losses on a tile of logits [R, V] fp32, value and gradient in one call. Tiles are short-lived: the objective
// walks over the rows in tiles whose size is bounded (rqat::objective), so [tokens, vocab] never exists.
// All rows count with `row_weight` [R] fp32 (0 = masked). `grad` overwrites the student logits in place, in fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace rqat::ops {

struct RowLoss {
  at::Tensor loss;     ///< fp32 [R], not weighted
  at::Tensor entropy;  ///< fp32 [R], of the student's softmax at the temperature of the call (nats)
};

/// -log softmax(logits)[target]; grad = row_weight * (softmax - onehot). targets int64 [R]; where row_weight is 0 the
/// target may be anything and the loss is 0. Another target outside 0..V-1 throws ValueError (on CPU).
RowLoss cross_entropy_rows(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& row_weight, bool want_grad);

/// Divergence between teacher p = softmax(t/T) and student q = softmax(s/T), times T^2:
///   beta = 0: forward KL(p||q);  beta = 1: reverse KL(q||p);  else generalised JSD (GKD 2306.13649, as in TRL):
///   beta KL(p||m) + (1-beta) KL(q||m) with m = beta p + (1-beta) q.
/// grad = row_weight * d loss / d s. `student` and `teacher` are fp32 [R, V]; `teacher` is scratch and may be
/// overwritten.
RowLoss divergence_rows(at::Tensor& student, at::Tensor& teacher, const at::Tensor& row_weight, double beta,
                        double temperature, bool want_grad);

/// log softmax(logits / temperature)[target] and entropy, without gradient; `logits` is kept.
struct RowLogProb {
  at::Tensor log_prob, entropy;  ///< fp32 [R]
};
RowLogProb log_prob_rows(const at::Tensor& logits, const at::Tensor& targets, double temperature);

/// Overwrites logits by coefficient_r * d log_prob_r / d logits = coefficient_r * (onehot - softmax(logits/T)) / T.
void log_prob_rows_backward(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& coefficient,
                            double temperature);

}  // namespace rqat::ops
