#include <ATen/ATen.h>

#include <set>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"
#include "rqat/ops/optimizer.h"
#include "rqat/optim/optimizer.h"

namespace rqat::optim {

namespace {

struct AdamWConfig : base::Config {
  double learning_rate = 2e-5;
  std::optional<double> scale_learning_rate;
  double adam_beta1 = 0.9, adam_beta2 = 0.95, adam_epsilon = 1e-8, weight_decay = 0.0;
  void fields(base::FieldVisitor& v) override {
    v.field("learning_rate", learning_rate, "peak learning rate", base::positive());
    v.field("scale_learning_rate", scale_learning_rate,
            "for scales and zero points of quantisers; default: learning_rate", base::non_negative());
    v.field("adam_beta1", adam_beta1, "decay of the first moment", base::Range{0, 1});
    v.field("adam_beta2", adam_beta2, "decay of the second moment", base::Range{0, 1});
    v.field("adam_epsilon", adam_epsilon, "added to the root of the second moment", base::positive());
    v.field("weight_decay", weight_decay, "decoupled decay, of weight matrices only", base::non_negative());
  }
};

class AdamW : public Optimizer {
 public:
  AdamW(const AdamWConfig& config, std::vector<Slot> slots)
      : config_(config), slots_(std::move(slots)), moments_(slots_.size()) {}

  void step(double lr_factor, double grad_scale) override {
    ++step_;
    for (size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      if (!slot.grad->defined()) continue;
      base::pulse();
      Moments& moments = moments_[i];
      if (!moments.first.defined()) {
        moments.first = at::zeros_like(*slot.master);
        moments.second = at::zeros_like(*slot.master);
      }
      const double decay = slot.group == "weight" ? config_.weight_decay : 0.0;
      ops::adamw_step(*slot.master, *slot.grad, moments.first, moments.second, learning_rate(slot.group) * lr_factor,
                      config_.adam_beta1, config_.adam_beta2, config_.adam_epsilon, decay, step_, grad_scale);
    }
  }

  double learning_rate(const std::string& group) const override {
    const bool quantizer = group == "scale" || group == "zero_point";
    return quantizer ? config_.scale_learning_rate.value_or(config_.learning_rate) : config_.learning_rate;
  }

  std::map<std::string, at::Tensor> state() const override {
    std::map<std::string, at::Tensor> state{{"step", at::tensor(step_, at::kLong)}};
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (!moments_[i].first.defined()) continue;
      state["m." + slots_[i].name] = moments_[i].first;
      state["v." + slots_[i].name] = moments_[i].second;
    }
    return state;
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    const auto take = [&](const std::string& name, const at::Tensor& like) {
      const auto found = state.find(name);
      if (found == state.end()) throw base::IoError(base::cat("optimizer state lacks ", name));
      if (found->second.sizes() != like.sizes())
        throw base::IoError(base::cat("optimizer state ", name, " has another shape than its parameter"));
      return found->second.to(like.device(), at::kFloat).clone();
    };
    std::set<std::string> known{"step"};
    for (const Slot& slot : slots_) known.insert({"m." + slot.name, "v." + slot.name});
    for (const auto& [name, tensor] : state) {
      if (known.count(name) == 0)
        throw base::IoError(base::cat("optimizer state ", name, " belongs to no trained parameter"));
    }
    const auto step = state.find("step");
    if (step == state.end()) throw base::IoError("optimizer state lacks step");
    step_ = step->second.item<int64_t>();
    for (size_t i = 0; i < slots_.size(); ++i) {
      // A parameter that never had a gradient has no moments yet.
      if (state.count("m." + slots_[i].name) == 0 && state.count("v." + slots_[i].name) == 0) {
        moments_[i] = {};
        continue;
      }
      moments_[i] = {take("m." + slots_[i].name, *slots_[i].master), take("v." + slots_[i].name, *slots_[i].master)};
    }
  }

 private:
  struct Moments {
    at::Tensor first, second;
  };
  AdamWConfig config_;
  std::vector<Slot> slots_;
  std::vector<Moments> moments_;
  int64_t step_ = 0;
};

}  // namespace

base::Entry<Optimizer, std::vector<Slot>> adamw_entry() {
  return base::make_entry<base::Entry<Optimizer, std::vector<Slot>>, AdamWConfig>(
      "adamw", "Adam with decoupled weight decay on fp32 masters", "1711.05101",
      [](const AdamWConfig& config, std::vector<Slot> slots) {
        return std::make_unique<AdamW>(config, std::move(slots));
      });
}

}  // namespace rqat::optim
