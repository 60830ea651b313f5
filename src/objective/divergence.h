// Distillation losses share one class; they differ in beta.
#pragma once

#include "rqat/objective/objective.h"

namespace rqat::objective {

struct DistillationConfig : base::Config {
  double temperature = 1.0;
  void fields(base::FieldVisitor& v) override {
    v.field("temperature", temperature, "softens both distributions; the loss is multiplied by its square",
            base::positive());
  }
};

/// Generalised divergence between teacher and student: beta 0 forward KL, 1 reverse KL, between JSD (ops/loss.h).
class Divergence : public Objective {
 public:
  Divergence(double beta, double temperature, const char* name) : beta_(beta), temperature_(temperature), name_(name) {}
  bool needs_teacher() const override { return true; }
  ObjectiveOutput compute(const ObjectiveInput& input) const override;

 private:
  double beta_, temperature_;
  const char* name_;
};

}  // namespace rqat::objective
