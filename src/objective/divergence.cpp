#include "divergence.h"

#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/ops/loss.h"
#include "tiles.h"

namespace rqat::objective {

ObjectiveOutput Divergence::compute(const ObjectiveInput& input) const {
  const at::NoGradGuard no_grad;
  if (input.teacher == nullptr) throw base::ConfigError(base::cat("objective ", name_, " needs a teacher"));
  const int64_t vocab = input.head.weight->plain.size(0), teacher_vocab = input.teacher->head.weight->plain.size(0);
  const int64_t common = std::min(vocab, teacher_vocab);
  ObjectiveOutput output;
  if (input.want_gradient) output.grad_hidden = at::empty_like(input.hidden);
  for_each_tile(input.hidden.size(0), vocab, [&](int64_t begin, int64_t end) {
    at::Tensor student = tile_logits(input.hidden, input.head, begin, end);
    at::Tensor teacher = tile_logits(input.teacher->hidden, input.teacher->head, begin, end);
    const at::Tensor weights = tile_weights(input, begin, end);
    at::Tensor student_part = leading_columns(student, common);
    at::Tensor teacher_part = leading_columns(teacher, common);
    const ops::RowLoss rows =
        ops::divergence_rows(student_part, teacher_part, weights, beta_, temperature_, input.want_gradient);
    add_tile(output, rows.loss, rows.entropy, weights, input.normalizer, name_);
    if (!input.want_gradient) return;
    if (common < vocab) {
      student.zero_();
      student.slice(1, 0, common).copy_(student_part);
    }
    backpropagate_tile(student, input.hidden, input.head, begin, end, output.grad_hidden);
  });
  return output;
}

}  // namespace rqat::objective
