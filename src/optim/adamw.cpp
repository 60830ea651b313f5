#include "adamw.h"

#include <ATen/ATen.h>

#include <set>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"

namespace rqat::optim {

void AdamWConfig::fields(base::FieldVisitor& v) {
  v.field("learning_rate", learning_rate, "peak learning rate", base::positive());
  v.field("scale_learning_rate", scale_learning_rate,
          "for scales and zero points of quantizers; default: learning_rate", base::non_negative());
  const base::Range decays{0, 1, /*low_open=*/false, /*high_open=*/true};
  v.field("adam_beta1", adam_beta1, "decay of the first moment", decays);
  v.field("adam_beta2", adam_beta2, "decay of the second moment", decays);
  v.field("adam_epsilon", adam_epsilon, "added to the root of the second moment", base::positive());
  v.field("weight_decay", weight_decay, "decoupled decay, of weight matrices only", base::non_negative());
}

AdamW::AdamW(const AdamWConfig& config, std::vector<Slot> slots, int64_t min_8bit_size)
    : config_(config), slots_(std::move(slots)), moments_(slots_.size()), min_8bit_size_(min_8bit_size) {}

void AdamW::step(double lr_factor, double grad_scale) {
  ++step_;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (!slot.grad->defined()) continue;
    base::pulse();
    Moments& moments = moments_[i];
    const double rate = learning_rate(slot.group) * lr_factor;
    const double decay = slot.group == "weight" ? config_.weight_decay : 0.0;
    const auto& [beta1, beta2, eps] = std::tie(config_.adam_beta1, config_.adam_beta2, config_.adam_epsilon);
    if (in_8bit(slot)) {
      if (!moments.first.defined()) moments = ops::zero_moments_8bit(*slot.master);
      ops::adamw_8bit_step(*slot.master, *slot.grad, moments, rate, beta1, beta2, eps, decay, step_, grad_scale);
    } else {
      if (!moments.first.defined()) {
        moments.first = at::zeros_like(*slot.master);
        moments.second = at::zeros_like(*slot.master);
      }
      ops::adamw_step(*slot.master, *slot.grad, moments.first, moments.second, rate, beta1, beta2, eps, decay, step_,
                      grad_scale);
    }
  }
}

double AdamW::learning_rate(const std::string& group) const {
  const bool quantizer = group == "scale" || group == "zero_point";
  return quantizer ? config_.scale_learning_rate.value_or(config_.learning_rate) : config_.learning_rate;
}

template <class AnyMoments>
auto AdamW::named(size_t index, AnyMoments& moments) const {
  const std::string& name = slots_[index].name;
  std::vector<std::pair<std::string, decltype(&moments.first)>> all{{"m." + name, &moments.first},
                                                                    {"v." + name, &moments.second}};
  if (in_8bit(slots_[index])) {
    all.emplace_back("m_scale." + name, &moments.first_scale);
    all.emplace_back("v_scale." + name, &moments.second_scale);
  }
  return all;
}

std::map<std::string, at::Tensor> AdamW::state() const {
  std::map<std::string, at::Tensor> state{{"step", at::tensor(step_, at::kLong)}};
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!moments_[i].first.defined()) continue;
    for (const auto& [name, tensor] : named(i, moments_[i])) state[name] = *tensor;
  }
  return state;
}

void AdamW::load_state(const std::map<std::string, at::Tensor>& state) {
  const auto step = state.find("step");
  if (step == state.end()) throw base::IoError("optimizer state lacks step");
  std::set<std::string> known{"step"};
  moments_.assign(slots_.size(), {});
  for (size_t i = 0; i < slots_.size(); ++i) {
    // A parameter that never had a gradient has no moments yet.
    if (state.count("m." + slots_[i].name) == 0 && state.count("v." + slots_[i].name) == 0) continue;
    const at::Tensor& master = *slots_[i].master;
    if (in_8bit(slots_[i])) {
      moments_[i] = ops::zero_moments_8bit(master);
    } else {
      moments_[i] = {at::empty_like(master), at::empty_like(master), {}, {}};
    }
    for (const auto& [name, tensor] : named(i, moments_[i])) {
      const auto found = state.find(name);
      if (found == state.end()) throw base::IoError(base::cat("optimizer state lacks ", name));
      if (found->second.sizes() != tensor->sizes() || found->second.scalar_type() != tensor->scalar_type()) {
        throw base::IoError(base::cat("optimizer state ", name, " has another shape or type than this optimizer's: ",
                                      found->second.sizes(), " ", c10::toString(found->second.scalar_type())));
      }
      tensor->copy_(found->second);
      known.insert(name);
    }
  }
  for (const auto& [name, tensor] : state) {
    if (known.count(name) == 0)
      throw base::IoError(base::cat("optimizer state ", name, " belongs to no trained parameter"));
  }
  step_ = step->second.item<int64_t>();
}

}  // namespace rqat::optim
