#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "backpropagate.h"
#include "rollout_batch.h"
#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/rng.h"
#include "rqat/base/strings.h"
#include "rqat/train/trainer.h"
#include "run_loop.h"

namespace rqat::train {

namespace {

using base::cat;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class ReinforceLoop {
 public:
  ReinforceLoop(model::CausalLM& model, model::CausalLM* reference, const text::Tokenizer& tokenizer,
                const text::ChatTemplate& chat, const std::vector<int64_t>& stop_ids,
                const std::vector<data::Record>& records, const data::DataConfig& data, const ReinforceConfig& config,
                uint64_t seed, const Callbacks& callbacks)
      : model_(model),
        reference_(reference),
        tokenizer_(tokenizer),
        chat_(chat),
        records_(records),
        data_(data),
        config_(config),
        seed_(seed),
        callbacks_(callbacks),
        world_(*callbacks.world),
        objective_(objective::objectives().make(config.objective)),
        reward_(rl::rewards().make(config.reward)),
        runner_(model, config, *callbacks.world),
        sampler_(static_cast<int64_t>(records.size()), seed),
        engine_(model, stop_ids, config.max_slots, data.max_length + config.max_completion_length, *callbacks.world) {
    if (!objective_->needs_policy() || objective_->needs_teacher()) {
      throw base::ConfigError(cat("objective ", config.objective.name,
                                  objective_->needs_teacher() ? " needs a teacher" : " is no policy objective",
                                  "; use a `train` stage"));
    }
    if (reference != nullptr) model.share_frozen(*reference);
    sampling_.temperature = config.temperature;
    sampling_.top_p = config.top_p;
    sampling_.top_k = config.top_k;
    sampling_.max_new_tokens = config.max_completion_length;
    for (nn::LinearBase* linear : model.linears()) {
      linear->set_count_flips(true);
      num_weights_ += linear->spec().in_features * linear->spec().out_features;
    }
    model.prepare_training();  // flip counting starts from the present codes
  }

  Metrics step(int64_t number) {
    const auto start = std::chrono::steady_clock::now();
    const rl::RolloutBatch batch = sample(number);
    Metrics metrics(batch.metrics.begin(), batch.metrics.end());
    metrics["rollout_seconds"] = seconds_since(start);
    std::vector<RolloutGroup> groups = groups_of(batch);
    // Groups with equal rewards have zero advantages: their tokens would only dilute the mean with zeros. The KL to the
    // reference is over all answers.
    if (!objective_->needs_reference()) keep_informative(groups);
    metrics["trained_groups"] = static_cast<double>(groups.size());
    if (groups.empty()) {
      base::log_warning(cat("step ", number, ": every group has equal rewards; nothing to learn from"));
      return metrics;
    }
    const auto update_start = std::chrono::steady_clock::now();
    const bool several = config_.num_iterations * config_.mini_batches > 1;
    std::vector<PolicyBatch> batches =
        make_policy_batches(groups, config_.mini_batches, config_.max_tokens_per_micro_batch, world_);
    for (PolicyBatch& mini_batch : batches) {
      for (PolicyMicroBatch& micro_batch : mini_batch.micro_batches) add_log_probs(micro_batch, several);
    }
    StepSums sums;
    int64_t flips = 0;
    for (int64_t pass = 0; pass < config_.num_iterations; ++pass) {
      for (const PolicyBatch& mini_batch : batches) {
        const Metrics update = update_or_stop(mini_batch, number, sums, batch);
        metrics.insert(update.begin(), update.end());
        for (nn::LinearBase* linear : model_.linears()) flips += linear->flipped();
      }
    }
    sums = sums.over_ranks(world_);
    const std::map<std::string, double> means = sums.means();
    metrics.insert(means.begin(), means.end());
    metrics["loss"] = sums.loss / static_cast<double>(batches.size() * static_cast<size_t>(config_.num_iterations));
    metrics["codes_flipped"] = static_cast<double>(flips) / static_cast<double>(num_weights_);
    metrics["update_seconds"] = seconds_since(update_start);
    metrics["step_seconds"] = seconds_since(start);
    return metrics;
  }

  LoopState state() const { return {0, sampler_.cursor(), runner_.state(), {}}; }
  void load_state(const LoopState& state) {
    sampler_.set_cursor(state.cursor);
    runner_.load_state(state.tensors);
  }
  void finish() { runner_.finish(); }

 private:
  rl::RolloutBatch sample(int64_t number) {
    std::vector<data::Record> records;
    for (int64_t i = 0; i < config_.prompts_per_step; ++i)
      records.push_back(records_[static_cast<size_t>(sampler_.next())]);
    model_.set_execution(nn::Execution::kPacked);
    rl::RolloutBatch batch =
        rl::collect(engine_, records, data_, tokenizer_, chat_, *reward_, config_.num_generations, sampling_,
                    config_.scale_rewards, base::Rng(seed_, "rollouts", static_cast<uint64_t>(number)).next());
    model_.set_execution(nn::Execution::kTrain);
    return batch;
  }

  /// Log-probs before the first update (needed when several updates follow) and of the reference.
  void add_log_probs(PolicyMicroBatch& batch, bool with_old) {
    batch.move_to(model_.device());
    if (with_old) {
      const at::Tensor hidden = hidden_rows(model_, batch.tokens, batch.rows);
      batch.old_log_prob = objective::log_probs(hidden, runner_.head(), batch.targets, config_.temperature).log_prob;
    }
    if (reference_ != nullptr) {
      const at::Tensor hidden = hidden_rows(*reference_, batch.tokens, batch.rows);
      batch.reference_log_prob =
          objective::log_probs(hidden, {&reference_->prepared_head(), nullptr, reference_->options().logit_softcap},
                               batch.targets, config_.temperature)
              .log_prob;
    }
  }

  /// On a fault of the data the answers are saved with their rewards.
  Metrics update_or_stop(const PolicyBatch& mini_batch, int64_t number, StepSums& sums, const rl::RolloutBatch& batch) {
    try {
      return update_on(mini_batch, number, sums);
    } catch (const base::DataError& error) {
      if (!callbacks_.save_batch) throw;
      std::vector<BatchItem> items;
      for (const rl::Rollout& rollout : batch.rollouts) {
        items.push_back({rollout.group + 1, rollout.prompt, rollout.reward});
        items.back().ids.insert(items.back().ids.end(), rollout.completion.ids.begin(), rollout.completion.ids.end());
      }
      throw base::DataError(
          cat(error.what(), "; the answers of this step are saved in ", callbacks_.save_batch(number, items)));
    }
  }

  Metrics update_on(const PolicyBatch& mini_batch, int64_t number, StepSums& sums) {
    for (const PolicyMicroBatch& micro_batch : mini_batch.micro_batches) {
      objective::PolicyTargets policy;
      policy.advantage = micro_batch.advantage;
      policy.old_log_prob = micro_batch.old_log_prob;
      policy.rollout_log_prob = micro_batch.rollout_log_prob;
      policy.reference_log_prob = micro_batch.reference_log_prob;
      policy.sequence = micro_batch.sequence;
      policy.num_sequences = mini_batch.num_sequences;
      policy.temperature = config_.temperature;
      objective::ObjectiveInput input;
      input.targets = micro_batch.targets;
      input.head = runner_.head();
      input.policy = &policy;
      input.normalizer = static_cast<double>(mini_batch.num_rows);
      if (&micro_batch == &mini_batch.micro_batches.back()) runner_.expect_last_backward();
      sums.add(backpropagate(model_, micro_batch.tokens, micro_batch.rows, *objective_, std::move(input)));
    }
    if (world_.any(!std::isfinite(sums.loss)))
      throw base::DataError(cat("step ", number, ": the policy loss is not finite; lower the learning rate"));
    return runner_.finish_step(number);
  }

  model::CausalLM& model_;
  model::CausalLM* reference_;
  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate& chat_;
  const std::vector<data::Record>& records_;
  const data::DataConfig& data_;
  const ReinforceConfig& config_;
  uint64_t seed_;
  const Callbacks& callbacks_;
  dist::Communicator& world_;
  std::unique_ptr<objective::Objective> objective_;
  std::unique_ptr<rl::Reward> reward_;
  StepRunner runner_;
  data::Sampler sampler_;
  generate::Engine engine_;
  generate::SamplingConfig sampling_;
  int64_t num_weights_ = 0;
};

}  // namespace

void train_reinforce(model::CausalLM& model, model::CausalLM* reference, const text::Tokenizer& tokenizer,
                     const text::ChatTemplate& chat, const std::vector<int64_t>& stop_ids,
                     const std::vector<data::Record>& records, const data::DataConfig& data,
                     const ReinforceConfig& config, uint64_t seed, const Callbacks& callbacks) {
  ReinforceLoop loop(model, reference, tokenizer, chat, stop_ids, records, data, config, seed, callbacks);
  run_loop(loop, config, callbacks);
}

}  // namespace rqat::train
