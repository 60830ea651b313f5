#include <cmath>

#include "composed.h"

namespace rqat::ops::composed {
namespace {

// 0 * -inf counts as 0: a logit of -inf has no part in a sum of probability times logarithm.
at::Tensor expectation(const at::Tensor& probability, const at::Tensor& value) {
  return (probability * value).masked_fill_(probability == 0, 0).sum(-1);
}

void write_gradient(at::Tensor& logits, const at::Tensor& gradient, const at::Tensor& row_weight) {
  at::Tensor weight = row_weight.unsqueeze(1);
  logits.copy_((gradient * weight).masked_fill_(weight == 0, 0));
}

// (1 - beta) log q + ... in log space; -inf where both are.
at::Tensor log_mixture(const at::Tensor& log_p, const at::Tensor& log_q, double beta) {
  return at::logaddexp(log_p + std::log(beta), log_q + std::log1p(-beta));
}

}  // namespace

RowLoss cross_entropy_rows(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& row_weight,
                           bool want_grad) {
  at::Tensor log_q = logits.log_softmax(-1), q = log_q.exp();
  at::Tensor index = targets.masked_fill(row_weight == 0, 0).unsqueeze(1);
  RowLoss result{log_q.gather(1, index).squeeze(1).neg_().masked_fill_(row_weight == 0, 0),
                 expectation(q, log_q).neg_()};
  if (want_grad)
    write_gradient(logits, q.scatter_add(1, index, at::full(index.sizes(), -1.0f, q.options())), row_weight);
  return result;
}

RowLoss divergence_rows(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& row_weight, double beta,
                        double temperature, bool want_grad) {
  at::Tensor log_q = (student / temperature).log_softmax(-1), q = log_q.exp();
  at::Tensor log_p = (teacher / temperature).log_softmax(-1), p = log_p.exp();
  at::Tensor loss, gradient;
  if (beta == 0) {
    loss = expectation(p, log_p - log_q);
    gradient = q - p;
  } else {
    // d/dz of c * KL(q || m(q)) plus the pull of m on the other term collapses to q * c * (log q/m - KL(q || m)).
    const double coefficient = beta == 1 ? 1 : 1 - beta;
    at::Tensor log_m = beta == 1 ? log_p : log_mixture(log_p, log_q, beta);
    at::Tensor ratio = (log_q - log_m).masked_fill_(q == 0, 0);
    at::Tensor reverse = expectation(q, ratio);
    loss = reverse * coefficient;
    if (beta != 1) loss = loss + expectation(p, log_p - log_m) * beta;
    gradient = q * (ratio - reverse.unsqueeze(1)) * coefficient;
  }
  if (want_grad) write_gradient(student, gradient * temperature, row_weight);
  return {loss * (temperature * temperature), expectation(q, log_q).neg_()};
}

RowLogProb log_prob_rows(const at::Tensor& logits, const at::Tensor& targets, double temperature) {
  at::Tensor log_q = (logits / temperature).log_softmax(-1);
  return {log_q.gather(1, targets.unsqueeze(1)).squeeze(1), expectation(log_q.exp(), log_q).neg_()};
}

void log_prob_rows_backward(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& coefficient,
                            double temperature) {
  at::Tensor gradient = (logits / temperature).softmax(-1).neg_();
  at::Tensor index = targets.masked_fill(coefficient == 0, 0).unsqueeze(1);
  gradient.scatter_add_(1, index, at::ones(index.sizes(), gradient.options()));
  write_gradient(logits, gradient / temperature, coefficient);
}

}  // namespace rqat::ops::composed
