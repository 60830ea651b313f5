#include <ATen/ATen.h>

#include "rqat/quant/estimator.h"

namespace rqat::quant {

namespace {

class StraightThrough : public Estimator {
 public:
  EstimatorGradients reduce(const EstimatorInput& input) const override { return {input.gradient, {}, {}}; }
};

}  // namespace

base::Entry<Estimator> ste_entry() {
  return base::make_entry<base::Entry<Estimator>, base::NoConfig>(
      "ste", "straight-through: dL/dW = dL/dW_hat everywhere", "1308.3432",
      [](const base::NoConfig&) { return std::make_unique<StraightThrough>(); });
}

}  // namespace rqat::quant
