#include <ATen/ATen.h>

#include <algorithm>

#include "gradient_sync.h"
#include "optimizer_shards.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

namespace {

using base::cat;

const std::string kMaster = "master.", kMoving = "moving_master.", kOptimizer = "optimizer.";

/// Steps between two looks at whether all ranks hold the same masters.
constexpr int64_t kCompareSteps = 100;

/// A sum of the bits: equal for equal tensors, and nearly never else.
int64_t bit_sum(const std::vector<optim::Slot>& slots) {
  uint64_t sum = 0;
  for (const optim::Slot& slot : slots)
    sum = 31 * sum + static_cast<uint64_t>(slot.master->view(at::kInt).sum(at::kLong).item<int64_t>());
  return static_cast<int64_t>(sum);
}

}  // namespace

StepRunner::StepRunner(model::CausalLM& model, const LoopConfig& config, dist::Communicator& world)
    : model_(model), config_(config), world_(world) {
  if (model.config().tie_word_embeddings) {
    if (const std::string fault = config.tied_freeze_fault(); !fault.empty()) throw base::ConfigError(fault);
  }
  const auto frozen = [&](const char* role) {
    return std::find(config.freeze.begin(), config.freeze.end(), role) != config.freeze.end();
  };
  for (nn::Parameter* parameter : model.parameters()) parameter->trainable = !frozen(nn::role_name(parameter->role));
  model.prepare_training();
  model.set_gradient_checkpointing(config.gradient_checkpointing);
  nn::ParameterList trained = model.parameters();
  std::erase_if(trained, [](const nn::Parameter* parameter) { return !parameter->trainable; });
  if (trained.empty()) throw base::ConfigError("freeze leaves nothing to train");
  gradients_ = std::make_unique<GradientSync>(model, world);
  shards_ = std::make_unique<OptimizerShards>(model, trained, config.zero, world);
  slots_ = shards_->all();
  own_slots_ = shards_->own();
  optimizer_ = optim::optimizers().make(config.optimizer, own_slots_);
}

StepRunner::~StepRunner() = default;

void StepRunner::expect_last_backward() { gradients_->expect_last_backward(); }

io::TensorMap StepRunner::state() const {
  io::TensorMap tensors;
  for (const optim::Slot& slot : own_slots_) tensors[kMaster + slot.name] = *slot.master;
  for (const auto& [name, tensor] : optimizer_->state()) tensors[kOptimizer + name] = tensor;
  io::TensorMap whole = shards_->gather(tensors);
  for (const auto& [name, master] : moving_masters()) whole[name] = master;
  return whole;
}

io::TensorMap StepRunner::moving_masters() const {
  io::TensorMap masters;
  for (nn::LinearBase* linear : model_.linears()) {
    if (const at::Tensor master = linear->moving_master(); master.defined()) masters[kMoving + linear->name()] = master;
  }
  return masters;
}

int64_t StepRunner::held_bytes() const {
  int64_t bytes = 0;
  for (const optim::Slot& slot : slots_)
    bytes += slot.master->defined() ? static_cast<int64_t>(slot.master->nbytes()) : 0;
  for (const auto& [name, tensor] : optimizer_->state()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

void StepRunner::finish() {
  optimizer_.reset();
  shards_->gather_masters();
}

void StepRunner::load_state(const io::TensorMap& tensors) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> optimizer;
  size_t masters = 0;
  for (const auto& [name, tensor] : tensors) {
    if (base::starts_with(name, kOptimizer)) optimizer[name.substr(kOptimizer.size())] = tensor;
    masters += base::starts_with(name, kMaster) ? 1 : 0;
  }
  const auto restore = [&](const std::string& name, const at::Tensor& master) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw base::IoError(cat("checkpoint: lacks ", name));
    if (!master.defined()) return;  // another rank looks at it
    if (found->second.sizes() != master.sizes())
      throw base::IoError(cat("checkpoint: ", name, " has another shape than the parameter"));
    master.copy_(found->second);
  };
  for (const optim::Slot& slot : slots_) restore(kMaster + slot.name, *slot.master);
  const io::TensorMap moving = moving_masters();
  for (const auto& [name, master] : moving) restore(name, master);
  if (masters + moving.size() + optimizer.size() != tensors.size() || masters != slots_.size())
    throw base::IoError("checkpoint: holds tensors of parameters that are not trained here");
  optimizer_->load_state(shards_->own_state(optimizer));
  for (nn::LinearBase* linear : model_.linears()) linear->masters_restored();
  shards_->share();
  model_.refresh();
}

objective::Head StepRunner::head() {
  nn::Parameter& parameter = model_.head();
  return {&model_.prepared_head(), parameter.trainable ? &parameter.grad_buffer() : nullptr,
          model_.options().logit_softcap};
}

void StepRunner::compare_ranks(int64_t step) {
  if (world_.alone() || shards_->sharded() || (step != 0 && (step + 1) % kCompareSteps != 0)) return;
  const at::NoGradGuard no_grad;
  const std::vector<std::string> sums = world_.all_gather_text(cat(bit_sum(slots_), " on ", dist::host_name()));
  const auto number = [](const std::string& text) { return text.substr(0, text.find(' ')); };
  for (size_t rank = 1; rank < sums.size(); ++rank) {
    if (number(sums[rank]) == number(sums[0])) continue;
    throw base::DataError(cat("step ", step, ": the weights of rank ", rank,
                              sums[rank].substr(number(sums[rank]).size()),
                              " differ from those of rank 0; ranks must run on machines of one kind (CPU or GPU, and "
                              "libraries), or with zero: 1, where one rank alone makes each weight"));
  }
}

Metrics StepRunner::finish_step(int64_t step) {
  gradients_->finish();
  model_.reduce_gradients();
  optim::ClipResult clip;
  try {
    clip = optim::clip_by_norm(slots_, shards_->over_ranks(optim::sums_of_squares(own_slots_)), config_.max_grad_norm);
  } catch (const base::DataError& error) {
    throw base::DataError(cat("step ", step, ": ", error.what()));
  }
  const double factor = config_.lr_scheduler.factor(step, config_.max_steps);
  optimizer_->step(factor, clip.scale);
  shards_->share();
  compare_ranks(step);
  model_.zero_grad();
  model_.refresh();
  return {{"grad_norm", clip.norm}, {"learning_rate", optimizer_->learning_rate("weight") * factor}};
}

}  // namespace rqat::train
