#include <ATen/ATen.h>

#include "rqat/ops/quantize.h"
#include "rqat/quant/estimator.h"

namespace rqat::quant {

namespace {

class ClippedStraightThrough : public Estimator {
 public:
  EstimatorGradients reduce(const EstimatorInput& input) const override {
    const int64_t group = input.format->resolved_group(input.weight.size(1));
    return {ops::fake_quant_backward(input.gradient, input.weight, input.params.scale, input.params.zero_point,
                                     input.format->num_bits, group, /*clip=*/true, /*want_scale=*/false,
                                     /*want_zero_point=*/false, /*in_place=*/true)
                .weight,
            {},
            {}};
  }
};

}  // namespace

base::Entry<Estimator> clipped_ste_entry() {
  return base::make_entry<base::Entry<Estimator>, base::NoConfig>(
      "clipped_ste", "straight-through inside the range, zero where a weight is clipped", "1308.3432",
      [](const base::NoConfig&) { return std::make_unique<ClippedStraightThrough>(); });
}

}  // namespace rqat::quant
