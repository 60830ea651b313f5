#include <ATen/ATen.h>

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

StepRunner::StepRunner(model::CausalLM& model, const LoopConfig& config) : model_(model), config_(config) {
  const auto frozen = [&](const char* role) {
    return std::find(config.freeze.begin(), config.freeze.end(), role) != config.freeze.end();
  };
  for (nn::Parameter* parameter : model.parameters()) parameter->trainable = !frozen(nn::role_name(parameter->role));
  model.prepare_training();
  for (nn::Parameter* parameter : model.parameters()) {
    if (parameter->trainable) {
      slots_.push_back({parameter->name, nn::role_name(parameter->role), &parameter->master, &parameter->grad});
    }
  }
  if (slots_.empty()) throw base::ConfigError("freeze leaves nothing to train");
  optimizer_ = optim::optimizers().make(config.optimizer, slots_);
}

objective::Head StepRunner::head() {
  nn::Parameter& parameter = model_.head();
  return {&model_.prepared_head(), parameter.trainable ? &parameter.grad_buffer() : nullptr};
}

Metrics StepRunner::finish_step(int64_t step) {
  model_.reduce_gradients();
  optim::ClipResult clip;
  try {
    clip = optim::clip_by_norm(slots_, config_.max_grad_norm);
  } catch (const base::DataError& error) {
    throw base::DataError(base::cat("step ", step, ": ", error.what()));
  }
  const double factor = config_.lr_scheduler.factor(step, config_.max_steps);
  optimizer_->step(factor, clip.scale);
  model_.zero_grad();
  model_.refresh();
  return {{"grad_norm", clip.norm}, {"learning_rate", optimizer_->learning_rate("weight") * factor}};
}

}  // namespace rqat::train
