// Scales trained with their codes held: the gradient of a scale is that of s * (q - z) with q fixed, as in PEQA and
// EfficientQAT's end-to-end phase. The weights move too, straight-through, in units of their scale.
#include <ATen/ATen.h>

#include "rqat/ops/quantize.h"
#include "rqat/quant/estimator.h"

namespace rqat::quant {

namespace {

/// Sums columns by group: [N, K] -> [N, ceil(K / group)].
at::Tensor sum_groups(const at::Tensor& values, int64_t group) {
  const int64_t rows = values.size(0), columns = values.size(1), whole = columns / group;
  at::Tensor sums = values.slice(1, 0, whole * group).reshape({rows, whole, group}).sum(-1);
  if (whole * group == columns) return sums;
  return at::cat({sums, values.slice(1, whole * group).sum(-1, /*keepdim=*/true)}, 1);
}

class HeldCodes : public Estimator {
 public:
  bool trains_scale() const override { return true; }
  bool holds_codes() const override { return true; }

  EstimatorGradients reduce(const EstimatorInput& input) const override {
    const QuantParams& params = input.params;
    const int64_t bits = input.format->num_bits, group = input.format->resolved_group(input.weight.size(1));
    const at::Tensor w_hat = ops::fake_quant(input.weight, params.scale, params.zero_point, bits, group, at::kFloat);
    const at::Tensor scale = sum_groups(w_hat.mul_(input.gradient), group).div_(params.scale);
    return {ops::fake_quant_backward(input.gradient, input.weight, params.scale, params.zero_point, bits, group,
                                     /*clip=*/true, /*want_scale=*/false, /*want_zero_point=*/false, /*in_place=*/true)
                .weight,
            scale,
            {}};
  }
};

}  // namespace

base::Entry<Estimator> held_codes_entry() {
  return base::make_entry<base::Entry<Estimator>, base::NoConfig>(
      "held_codes", "clipped straight-through, and scales trained with their codes held", "2305.14152",
      [](const base::NoConfig&) { return std::make_unique<HeldCodes>(); });
}

}  // namespace rqat::quant
