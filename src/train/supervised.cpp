#include <ATen/ATen.h>

#include <chrono>

#include "backpropagate.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/train/trainer.h"
#include "run_loop.h"
#include "watchdog.h"

namespace rqat::train {

namespace {

using base::cat;

class SupervisedLoop {
 public:
  SupervisedLoop(model::CausalLM& model, model::CausalLM* teacher, data::ExampleFeed& feed,
                 const SupervisedConfig& config, const Callbacks& callbacks)
      : model_(model),
        teacher_(teacher),
        feed_(feed),
        config_(config),
        callbacks_(callbacks),
        world_(*callbacks.world),
        watchdog_(config.divergence_factor, config.divergence_window),
        objective_(objective::objectives().make(config.objective)),
        runner_(model, config, *callbacks.world) {
    if (objective_->needs_policy()) {
      throw base::ConfigError(cat("objective ", config.objective.name, " belongs in a `reinforce` stage"));
    }
    if (objective_->needs_teacher() && teacher == nullptr) {
      throw base::ConfigError(cat("objective ", config.objective.name, " needs a teacher"));
    }
    if (teacher != nullptr) model.share_frozen(*teacher);
  }

  Metrics step(int64_t number) {
    const auto start = std::chrono::steady_clock::now();
    Batch batch;
    int64_t targets = 0, tokens = 0;
    for (int64_t i = 0; i < config_.batch_size; ++i) {
      batch.push_back(feed_.next());
      targets += batch.back().example->num_targets();
      tokens += static_cast<int64_t>(batch.back().example->ids.size());
    }
    if (targets == 0)
      throw base::DataError(cat("step ", number, ": no token of the batch is counted by the loss mask"));
    const StepSums sums = backpropagate_share(batch, static_cast<double>(targets)).over_ranks(world_);
    const std::string fault = watchdog_.fault(sums.loss);
    if (!fault.empty()) stop(cat("step ", number, ": ", fault), number, batch);
    Metrics metrics = finish_step(number, batch);
    const std::map<std::string, double> means = sums.means();
    metrics.insert(means.begin(), means.end());
    metrics["loss"] = sums.loss;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    metrics["step_seconds"] = seconds;
    metrics["tokens_per_second"] = static_cast<double>(tokens) / seconds;
    metrics["target_tokens"] = static_cast<double>(targets);
    return metrics;
  }

  LoopState state() const { return {0, feed_.cursor(), runner_.state(), watchdog_.losses()}; }
  void load_state(const LoopState& state) {
    feed_.set_cursor(state.cursor);
    watchdog_.set_losses(state.recent_losses);
    runner_.load_state(state.tensors);
  }
  void finish() { runner_.finish(); }

 private:
  using Batch = std::vector<data::FedExample>;

  /// The micro-batches of this rank's part of the batch.
  StepSums backpropagate_share(const Batch& all, double targets) {
    std::vector<int64_t> lengths;
    for (const data::FedExample& fed : all) lengths.push_back(static_cast<int64_t>(fed.example->ids.size()));
    const auto [begin, end] = world_.share_by_weight(lengths);
    const auto groups =
        data::pack_micro_batches({lengths.begin() + begin, lengths.begin() + end}, config_.max_tokens_per_micro_batch);
    StepSums sums;
    for (size_t i = 0; i < groups.size(); ++i) {
      std::vector<const data::Example*> batch;
      for (int64_t index : groups[i]) batch.push_back(all[static_cast<size_t>(begin + index)].example.get());
      if (i + 1 == groups.size()) runner_.expect_last_backward();
      sums.add(micro_batch(batch, targets));
    }
    return sums;
  }

  objective::ObjectiveOutput micro_batch(const std::vector<const data::Example*>& batch, double normalizer,
                                         bool want_gradient = true) {
    const nn::TargetBatch collated = collate(batch, model_.device());
    objective::ObjectiveInput input;
    input.targets = collated.targets;
    input.head = runner_.head();
    input.normalizer = normalizer;
    input.want_gradient = want_gradient;
    objective::TeacherTargets teacher;
    if (teacher_ != nullptr && objective_->needs_teacher()) {
      teacher.hidden = hidden_rows(*teacher_, collated.tokens, collated.rows);
      teacher.head = {&teacher_->prepared_head(), nullptr, teacher_->options().logit_softcap};
      input.teacher = &teacher;
    }
    return backpropagate(model_, collated.tokens, collated.rows, *objective_, std::move(input));
  }

  Metrics finish_step(int64_t number, const Batch& batch) {
    try {
      return runner_.finish_step(number);
    } catch (const base::DataError& error) {
      stop(error.what(), number, batch);
    }
  }

  /// Loss of one example alone: tells which record of a bad batch it was.
  double loss_of(const data::Example& example) {
    const auto targets = static_cast<double>(example.num_targets());
    return targets == 0 ? 0 : micro_batch({&example}, targets, /*want_gradient=*/false).loss;
  }

  [[noreturn]] void stop(const std::string& fault, int64_t number, const Batch& batch) {
    std::vector<std::string> names;
    for (const data::FedExample& fed : batch) names.push_back(std::to_string(fed.record + 1));
    std::string saved;
    if (callbacks_.save_batch) {
      std::vector<BatchItem> items;
      for (const data::FedExample& fed : batch)
        items.push_back({fed.record + 1, fed.example->ids, loss_of(*fed.example)});
      saved = cat(" (saved with their losses in ", callbacks_.save_batch(number, items), ")");
    }
    throw base::DataError(cat(fault, "; records of the batch: ", base::join(names, ", "), saved,
                              "; lower the learning rate, or look at these records"));
  }

  model::CausalLM& model_;
  model::CausalLM* teacher_;
  data::ExampleFeed& feed_;
  const SupervisedConfig& config_;
  const Callbacks& callbacks_;
  dist::Communicator& world_;
  LossWatchdog watchdog_;
  std::unique_ptr<objective::Objective> objective_;
  StepRunner runner_;
};

}  // namespace

void train_supervised(model::CausalLM& model, model::CausalLM* teacher, data::ExampleFeed& feed,
                      const SupervisedConfig& config, const Callbacks& callbacks) {
  SupervisedLoop loop(model, teacher, feed, config, callbacks);
  run_loop(loop, config, callbacks);
}

void train_supervised(model::CausalLM& model, model::CausalLM* teacher, const std::vector<data::Example>& examples,
                      const SupervisedConfig& config, uint64_t seed, const Callbacks& callbacks) {
  data::MemoryFeed feed(examples, seed);
  train_supervised(model, teacher, feed, config, callbacks);
}

}  // namespace rqat::train
