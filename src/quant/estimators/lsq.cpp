// Learned step size (LSQ), with LSQ+'s gradient for a learned zero point.
#include <ATen/ATen.h>

#include <cmath>

#include "rqat/ops/quantize.h"
#include "rqat/quant/estimator.h"

namespace rqat::quant {

namespace {

struct LsqConfig : base::Config {
  bool learn_zero_point = false;
  std::string grad_scale = "lsq";
  void fields(base::FieldVisitor& v) override {
    v.field("learn_zero_point", learn_zero_point, "train the zero point too (LSQ+ 2004.09576); it is rounded in use");
    v.choice("grad_scale", grad_scale, {"lsq", "none"},
             "lsq: scale gradients times 1/sqrt(group elements * largest code)");
  }
};

class Lsq : public Estimator {
 public:
  explicit Lsq(const LsqConfig& config) : config_(config) {}
  bool trains_scale() const override { return true; }
  bool trains_zero_point() const override { return config_.learn_zero_point; }

  EstimatorGradients reduce(const EstimatorInput& input) const override {
    const int64_t group = input.format->resolved_group(input.weight.size(1));
    const bool zero = config_.learn_zero_point && !input.format->symmetric;
    ops::FakeQuantGradients gradients = ops::fake_quant_backward(
        input.gradient, input.weight, input.params.scale, input.params.zero_point, input.format->num_bits, group,
        /*clip=*/true, /*want_scale=*/true, zero, /*in_place=*/true);
    if (config_.grad_scale == "lsq") {
      const double factor = 1.0 / std::sqrt(static_cast<double>(group * input.format->max_code()));
      gradients.scale.mul_(factor);
      if (zero) gradients.zero_point.mul_(factor);
    }
    return {gradients.weight, gradients.scale, gradients.zero_point};
  }

 private:
  LsqConfig config_;
};

}  // namespace

base::Entry<Estimator> lsq_entry() {
  return base::make_entry<base::Entry<Estimator>, LsqConfig>(
      "lsq", "clipped straight-through with learned scales (optionally zero points)", "1902.08153",
      [](const LsqConfig& config) { return std::make_unique<Lsq>(config); });
}

}  // namespace rqat::quant
