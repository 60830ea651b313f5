#include <ATen/ATen.h>

#include "rqat/ops/loss.h"
#include "tiles.h"

namespace rqat::objective {

namespace {

class CrossEntropy : public Objective {
 public:
  ObjectiveOutput compute(const ObjectiveInput& input) const override {
    const at::NoGradGuard no_grad;
    ObjectiveOutput output;
    if (input.want_gradient) output.grad_hidden = at::empty_like(input.hidden);
    for_each_tile(input.hidden.size(0), input.head.weight->plain.size(0), [&](int64_t begin, int64_t end) {
      at::Tensor logits = tile_logits(input.hidden, input.head, begin, end);
      const at::Tensor weights = tile_weights(input, begin, end);
      const ops::RowLoss rows =
          ops::cross_entropy_rows(logits, input.targets.slice(0, begin, end), weights, input.want_gradient);
      add_tile(output, rows.loss, rows.entropy, weights, input.normalizer, "cross_entropy");
      if (input.want_gradient) backpropagate_tile(logits, input.hidden, input.head, begin, end, output.grad_hidden);
    });
    return output;
  }
};

}  // namespace

base::Entry<Objective> cross_entropy_entry() {
  return base::make_entry<base::Entry<Objective>, base::NoConfig>(
      "cross_entropy", "next-token cross-entropy on response tokens (SFT)", "",
      [](const base::NoConfig&) { return std::make_unique<CrossEntropy>(); });
}

}  // namespace rqat::objective
