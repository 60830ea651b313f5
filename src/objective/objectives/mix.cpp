// Weighted sum of objectives on the same rows.
#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/objective/objective.h"

namespace rqat::objective {

namespace {

struct MixConfig : base::Config {
  std::vector<base::Component> parts;
  std::vector<double> weights;
  void fields(base::FieldVisitor& v) override {
    v.components("parts", parts, objectives(), "objectives to add up");
    v.required("parts");
    v.field("weights", weights, "one weight per part; default: all 1");
  }
  std::vector<std::string> check() const override {
    if (weights.empty() || weights.size() == parts.size()) return {};
    return {base::cat("mix: ", parts.size(), " parts but ", weights.size(), " weights")};
  }
};

class Mix : public Objective {
 public:
  explicit Mix(const MixConfig& config) : weights_(config.weights) {
    for (const base::Component& part : config.parts) parts_.push_back(objectives().make(part));
    if (weights_.empty()) weights_.assign(parts_.size(), 1.0);
  }

  bool needs_teacher() const override {
    for (const auto& part : parts_) {
      if (part->needs_teacher()) return true;
    }
    return false;
  }
  bool needs_policy() const override {
    for (const auto& part : parts_) {
      if (part->needs_policy()) return true;
    }
    return false;
  }

  ObjectiveOutput compute(const ObjectiveInput& input) const override {
    ObjectiveOutput sum;
    for (size_t i = 0; i < parts_.size(); ++i) {
      ObjectiveInput scaled = input;
      scaled.normalizer = input.normalizer / weights_[i];
      if (weights_[i] == 0) continue;
      const ObjectiveOutput part = parts_[i]->compute(scaled);
      sum.loss += part.loss;
      if (part.grad_hidden.defined()) {
        sum.grad_hidden = sum.grad_hidden.defined() ? sum.grad_hidden.add_(part.grad_hidden) : part.grad_hidden;
      }
      for (const auto& [key, value] : part.sums) {
        if (key == "rows" || key == "entropy") {
          sum.sums[key] = value;
        } else {
          sum.sums[key] += value;
        }
      }
    }
    return sum;
  }

 private:
  std::vector<std::unique_ptr<Objective>> parts_;
  std::vector<double> weights_;
};

}  // namespace

base::Entry<Objective> mix_entry() {
  return base::make_entry<base::Entry<Objective>, MixConfig>(
      "mix", "weighted sum of objectives, e.g. parts: [kl_forward, cross_entropy], weights: [1, 0.2]", "",
      [](const MixConfig& config) { return std::make_unique<Mix>(config); });
}

}  // namespace rqat::objective
