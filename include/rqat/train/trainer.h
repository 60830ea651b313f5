// The training loops: supervised (cross-entropy, distillation) and reinforcement (GRPO). They speak to models through
// nn::LinearBase only: once per optimizer step reduce_gradients() -> clip -> optimizer -> refresh().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/data/dataset.h"
#include "rqat/model/causal_lm.h"
#include "rqat/objective/objective.h"
#include "rqat/optim/optimizer.h"
#include "rqat/rl/rollout.h"

namespace rqat::train {

/// Settings shared by both loops.
struct LoopConfig : base::Config {
  int64_t max_steps = 100;
  base::Component optimizer{"adamw"};
  optim::ScheduleConfig lr_scheduler;
  double max_grad_norm = 1.0;
  std::vector<std::string> freeze{"embedding", "head"};  ///< parameter roles that stay as they are
  int64_t max_tokens_per_micro_batch = 4096;
  int64_t logging_steps = 1;
  int64_t eval_steps = 0;  ///< 0 = never
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;
};

/// A row of metrics.jsonl: step and named numbers (documented in docs/reference).
using Metrics = std::map<std::string, double>;

/// What a loop tells its surroundings.
struct Callbacks {
  std::function<void(int64_t step, const Metrics&)> on_metrics;
  std::function<void(int64_t step)> on_evaluate;  ///< every eval_steps, and not after the last step
};

/// The part both loops share: masters, optimizer, schedule, clipping, gradient flow, once-per-step requantisation.
class StepRunner {
 public:
  StepRunner(model::CausalLM& model, const LoopConfig& config);
  /// After all micro-batches of a step were back-propagated. Returns loss-independent metrics (grad_norm,
  /// learning_rate, ...). Throws DataError on non-finite gradients (names step and tensor).
  Metrics finish_step(int64_t step);
  optim::Optimizer& optimizer() { return *optimizer_; }
  objective::Head head();

 private:
  model::CausalLM& model_;
  const LoopConfig& config_;
  std::vector<optim::Slot> slots_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

struct SupervisedConfig : LoopConfig {
  base::Component objective{"cross_entropy"};
  int64_t batch_size = 16;  ///< sequences per optimizer step, split into micro-batches by max_tokens_per_micro_batch
  void fields(base::FieldVisitor& v) override;
};

/// Trains `model` on `examples` (seeded order). `teacher` is needed when the objective needs one. Throws DataError on a
/// non-finite loss, naming step and the records of the batch.
void train_supervised(model::CausalLM& model, model::CausalLM* teacher, const std::vector<data::Example>& examples,
                      const SupervisedConfig& config, uint64_t seed, const Callbacks& callbacks);

struct ReinforceConfig : LoopConfig {
  base::Component objective{"grpo"};
  base::Component reward{"correctness"};
  int64_t prompts_per_step = 16;
  int64_t num_generations = 8;
  int64_t num_iterations = 1;  ///< optimizer passes over one batch of rollouts
  int64_t mini_batches = 1;    ///< optimizer steps per pass
  bool scale_rewards = true;   ///< divide advantages by the group's standard deviation
  double temperature = 1.0, top_p = 1.0;
  int64_t top_k = 0;
  int64_t max_completion_length = 128;
  int64_t max_slots = 64;  ///< sequences decoded at once
  void fields(base::FieldVisitor& v) override;
};

/// GRPO and relatives. Rollouts run on packed codes (Execution::kPacked: no dense copy of a quantised linear is
/// resident), the update on W_hat; both come from one refresh(). `reference` may be null when the objective has no KL
/// term.
void train_reinforce(model::CausalLM& model, model::CausalLM* reference, const text::Tokenizer& tokenizer,
                     const text::ChatTemplate& chat, const std::vector<int64_t>& stop_ids,
                     const std::vector<data::Record>& records, const data::DataConfig& data,
                     const ReinforceConfig& config, uint64_t seed, const Callbacks& callbacks);

/// Examples laid end to end: tokens, the rows that predict counted tokens, and those tokens.
struct Collated {
  nn::TokenBatch tokens;
  at::Tensor rows;     ///< int64 [R]: positions whose next token is counted
  at::Tensor targets;  ///< int64 [R]
};
Collated collate(const std::vector<const data::Example*>& examples, at::Device device);

}  // namespace rqat::train
