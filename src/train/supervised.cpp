#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "backpropagate.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

namespace {

using base::cat;

class SupervisedLoop {
 public:
  SupervisedLoop(model::CausalLM& model, model::CausalLM* teacher, const std::vector<data::Example>& examples,
                 const SupervisedConfig& config, uint64_t seed)
      : model_(model),
        teacher_(teacher),
        examples_(examples),
        config_(config),
        objective_(objective::objectives().make(config.objective)),
        runner_(model, config),
        sampler_(static_cast<int64_t>(examples.size()), seed) {
    if (objective_->needs_policy()) {
      throw base::ConfigError(cat("objective ", config.objective.name, " belongs in a `reinforce` stage"));
    }
    if (objective_->needs_teacher() && teacher == nullptr) {
      throw base::ConfigError(cat("objective ", config.objective.name, " needs a teacher"));
    }
  }

  Metrics step(int64_t number) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<int64_t> records, lengths;
    int64_t targets = 0, tokens = 0;
    for (int64_t i = 0; i < config_.batch_size; ++i) {
      records.push_back(sampler_.next());
      const data::Example& example = example_at(records.back());
      lengths.push_back(static_cast<int64_t>(example.ids.size()));
      targets += example.num_targets();
      tokens += lengths.back();
    }
    if (targets == 0)
      throw base::DataError(cat("step ", number, ": no token of the batch is counted by the loss mask"));
    StepSums sums;
    for (const std::vector<int64_t>& group : data::pack_micro_batches(lengths, config_.max_tokens_per_micro_batch)) {
      std::vector<const data::Example*> batch;
      for (int64_t index : group) batch.push_back(&example_at(records[static_cast<size_t>(index)]));
      sums.add(micro_batch(batch, static_cast<double>(targets)));
    }
    require_finite(sums.loss, number, records);
    Metrics metrics = runner_.finish_step(number);
    const std::map<std::string, double> means = sums.means();
    metrics.insert(means.begin(), means.end());
    metrics["loss"] = sums.loss;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    metrics["step_seconds"] = seconds;
    metrics["tokens_per_second"] = static_cast<double>(tokens) / seconds;
    metrics["target_tokens"] = static_cast<double>(targets);
    return metrics;
  }

 private:
  const data::Example& example_at(int64_t index) const { return examples_[static_cast<size_t>(index)]; }

  objective::ObjectiveOutput micro_batch(const std::vector<const data::Example*>& batch, double normalizer) {
    const Collated collated = collate(batch, model_.device());
    objective::ObjectiveInput input;
    input.targets = collated.targets;
    input.head = runner_.head();
    input.normalizer = normalizer;
    objective::TeacherTargets teacher;
    if (teacher_ != nullptr && objective_->needs_teacher()) {
      teacher.hidden = hidden_rows(*teacher_, collated.tokens, collated.rows);
      teacher.head = {&teacher_->prepared_head(), nullptr};
      input.teacher = &teacher;
    }
    return backpropagate(model_, collated.tokens, collated.rows, *objective_, std::move(input));
  }

  void require_finite(double loss, int64_t number, const std::vector<int64_t>& records) const {
    if (std::isfinite(loss)) return;
    std::vector<std::string> names;
    for (int64_t record : records) names.push_back(std::to_string(record + 1));
    throw base::DataError(cat("step ", number, ": the loss is not finite (", loss, "); records of the batch: ",
                              base::join(names, ", "), "; lower the learning rate, or look at these records"));
  }

  model::CausalLM& model_;
  model::CausalLM* teacher_;
  const std::vector<data::Example>& examples_;
  const SupervisedConfig& config_;
  std::unique_ptr<objective::Objective> objective_;
  StepRunner runner_;
  data::Sampler sampler_;
};

}  // namespace

void train_supervised(model::CausalLM& model, model::CausalLM* teacher, const std::vector<data::Example>& examples,
                      const SupervisedConfig& config, uint64_t seed, const Callbacks& callbacks) {
  SupervisedLoop loop(model, teacher, examples, config, seed);
  for (int64_t step = 0; step < config.max_steps; ++step) {
    if (config.eval_steps > 0 && step > 0 && step % config.eval_steps == 0 && callbacks.on_evaluate)
      callbacks.on_evaluate(step);
    const Metrics metrics = loop.step(step);
    const bool log = step % config.logging_steps == 0 || step + 1 == config.max_steps;
    if (log && callbacks.on_metrics) callbacks.on_metrics(step, metrics);
  }
}

}  // namespace rqat::train
