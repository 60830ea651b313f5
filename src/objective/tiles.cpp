#include "tiles.h"

#include <algorithm>

#include "rqat/ops/loss.h"

namespace rqat::objective {

int64_t tile_rows(int64_t vocab_size) {
  constexpr int64_t kTileElements = 8 << 20;  // 32 MiB of fp32
  return std::clamp<int64_t>(kTileElements / std::max<int64_t>(1, vocab_size), 16, 1024);
}

at::Tensor tile_logits(const at::Tensor& hidden, const Head& head, int64_t begin, int64_t end) {
  at::Tensor logits = ops::matmul_nt_float(hidden.slice(0, begin, end), *head.weight);
  return head.softcap > 0 ? logits.div_(head.softcap).tanh_().mul_(head.softcap) : logits;
}

void backpropagate_tile(const at::Tensor& logits_grad, const at::Tensor& hidden, const Head& head, int64_t begin,
                        int64_t end, at::Tensor& grad_hidden) {
  at::Tensor grad = logits_grad;
  if (head.softcap > 0) {
    // The loss has overwritten the logits; they are made again for the slope of the cap.
    grad = grad * (1 - tile_logits(hidden, head, begin, end).div_(head.softcap).square_());
  }
  grad = grad.to(hidden.scalar_type());
  grad_hidden.slice(0, begin, end).copy_(at::mm(grad, head.weight->plain));
  if (head.weight_grad != nullptr)
    ops::accumulate_tn(*head.weight_grad, grad, hidden.slice(0, begin, end).contiguous());
}

at::Tensor tile_weights(const ObjectiveInput& input, int64_t begin, int64_t end) {
  const at::TensorOptions options = input.hidden.options().dtype(at::kFloat);
  const at::Tensor weights = input.row_weight.defined() ? input.row_weight.slice(0, begin, end).to(at::kFloat)
                                                        : at::ones({end - begin}, options);
  return weights / input.normalizer;
}

double weighted_sum(const at::Tensor& rows, const at::Tensor& weights) {
  return (rows.masked_fill(weights == 0, 0) * weights).sum(at::kDouble).item<double>();
}

void add_tile(ObjectiveOutput& output, const at::Tensor& loss, const at::Tensor& entropy, const at::Tensor& weights,
              double normalizer, const char* loss_name) {
  const double value = weighted_sum(loss, weights);
  output.loss += value;
  output.sums[loss_name] += value * normalizer;
  output.sums["entropy"] += weighted_sum(entropy, weights) * normalizer;
  output.sums["rows"] += weights.sum(at::kDouble).item<double>() * normalizer;
}

LogProbs log_probs(const at::Tensor& hidden, const Head& head, const at::Tensor& targets, double temperature) {
  const at::NoGradGuard no_grad;
  const int64_t rows = hidden.size(0);
  LogProbs result{at::empty({rows}, hidden.options().dtype(at::kFloat)),
                  at::empty({rows}, hidden.options().dtype(at::kFloat))};
  for_each_tile(rows, head.weight->plain.size(0), [&](int64_t begin, int64_t end) {
    const at::Tensor logits = tile_logits(hidden, head, begin, end);
    const ops::RowLogProb tile = ops::log_prob_rows(logits, targets.slice(0, begin, end), temperature);
    result.log_prob.slice(0, begin, end).copy_(tile.log_prob);
    result.entropy.slice(0, begin, end).copy_(tile.entropy);
  });
  return result;
}

DistillationScores score(const at::Tensor& hidden, const Head& head, const at::Tensor& targets,
                         const TeacherTargets* teacher) {
  const at::NoGradGuard no_grad;
  DistillationScores scores;
  scores.rows = hidden.size(0);
  for_each_tile(scores.rows, head.weight->plain.size(0), [&](int64_t begin, int64_t end) {
    at::Tensor logits = tile_logits(hidden, head, begin, end);
    scores.nll_sum -=
        ops::log_prob_rows(logits, targets.slice(0, begin, end), 1.0).log_prob.sum(at::kDouble).item<double>();
    if (teacher == nullptr) return;
    at::Tensor teacher_logits = tile_logits(teacher->hidden, teacher->head, begin, end);
    const int64_t common = std::min(logits.size(1), teacher_logits.size(1));
    at::Tensor student_part = leading_columns(logits, common), teacher_part = leading_columns(teacher_logits, common);
    const at::Tensor ones = at::ones({end - begin}, logits.options());
    scores.kl_sum +=
        ops::divergence_rows(student_part, teacher_part, ones, 0.0, 1.0, false).loss.sum(at::kDouble).item<double>();
  });
  return scores;
}

}  // namespace rqat::objective
