#include "divergence.h"

namespace rqat::objective {

namespace {

struct JsdConfig : DistillationConfig {
  double beta = 0.5;
  void fields(base::FieldVisitor& v) override {
    DistillationConfig::fields(v);
    v.field("beta", beta, "weight of the teacher in the mixture; 0 = forward KL, 1 = reverse KL", base::Range{0, 1});
  }
};

}  // namespace

base::Entry<Objective> jsd_entry() {
  return base::make_entry<base::Entry<Objective>, JsdConfig>(
      "jsd", "generalized Jensen-Shannon divergence between teacher and student", "2306.13649",
      [](const JsdConfig& config) { return std::make_unique<Divergence>(config.beta, config.temperature, "jsd"); });
}

}  // namespace rqat::objective
