// Weighted sum of objectives on the same rows.
#include <ATen/ATen.h>

#include <algorithm>

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
    if (parts.empty()) return {"mix: parts is empty, expected at least one objective"};
    if (weights.empty()) return {};
    if (weights.size() != parts.size())
      return {base::cat("mix: ", parts.size(), " parts but ", weights.size(), " weights")};
    const bool all_zero = std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 0; });
    return all_zero ? std::vector<std::string>{"mix: all weights are 0, nothing would be trained"}
                    : std::vector<std::string>{};
  }
};

class Mix : public Objective {
 public:
  explicit Mix(const MixConfig& config) : weights_(config.weights) {
    for (const base::Component& part : config.parts) parts_.push_back(objectives().make(part));
    if (weights_.empty()) weights_.assign(parts_.size(), 1.0);
  }

  bool needs_teacher() const override { return any(&Objective::needs_teacher); }
  bool needs_policy() const override { return any(&Objective::needs_policy); }
  bool needs_reference() const override { return any(&Objective::needs_reference); }

  ObjectiveOutput compute(const ObjectiveInput& input) const override {
    ObjectiveOutput sum;
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (weights_[i] == 0) continue;
      const ObjectiveOutput part = parts_[i]->compute(weighted(input, weights_[i]));
      sum.loss += part.loss;
      if (part.grad_hidden.defined()) {
        sum.grad_hidden = sum.grad_hidden.defined() ? sum.grad_hidden.add_(part.grad_hidden) : part.grad_hidden;
      }
      for (const auto& [key, value] : part.sums) {
        if (key == "rows" || key == "entropy") {
          sum.sums[key] = value / weights_[i];
        } else {
          sum.sums[key] += value / weights_[i];
        }
      }
    }
    return sum;
  }

 private:
  bool any(bool (Objective::*needs)() const) const {
    return std::any_of(parts_.begin(), parts_.end(), [&](const auto& part) { return ((*part).*needs)(); });
  }

  /// The weight travels with the rows: it reaches loss, gradients and (undone by compute) metrics of every part alike.
  static ObjectiveInput weighted(ObjectiveInput input, double weight) {
    const int64_t rows = input.hidden.size(0);
    input.row_weight = input.row_weight.defined() ? input.row_weight * weight
                                                  : at::full({rows}, weight, input.hidden.options().dtype(at::kFloat));
    return input;
  }

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
