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
#include "rqat/data/feed.h"
#include "rqat/dist/communicator.h"
#include "rqat/io/safetensors.h"
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
  bool gradient_checkpointing = false;  ///< blocks keep their input alone and are computed again in the backward
  int64_t zero = 0;  ///< ZeRO stage: 1 = each rank keeps masters and optimizer state of its share of the parameters
  int64_t logging_steps = 1;
  int64_t eval_steps = 0;   ///< 0 = never
  int64_t save_steps = 50;  ///< steps between checkpoints; 0 = only when asked to stop
  int64_t save_total_limit = 2;
  bool keep_checkpoints = false;  ///< also after the stage has finished
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;
  /// What is wrong with `freeze` for a model whose head is its embedding: one tensor cannot be frozen and trained. "" =
  /// nothing.
  std::string tied_freeze_fault() const;
};

/// A row of metrics.jsonl: step and named numbers (documented in docs/reference).
using Metrics = std::map<std::string, double>;

/// All that the rest of a loop depends on, between two steps: whole, whatever the number of ranks, by parameter name.
/// Random streams are derived from seed, purpose and step, rollouts live within a step, codes follow from the masters:
/// there is nothing else to keep.
struct LoopState {
  int64_t step = 0;       ///< steps done
  int64_t cursor = 0;     ///< of data::ExampleFeed, data::Sampler
  io::TensorMap tensors;  ///< "master.<parameter>", "optimizer.<entry>"; they share memory with the loop
  std::vector<double> recent_losses = {};  ///< by which a diverging loss is told
};

/// One sequence of a batch that went wrong.
struct BatchItem {
  int64_t record = 0;  ///< from 1
  std::vector<int64_t> ids;
  double value = 0;  ///< mean loss of its counted tokens; for an answer, its reward
};

/// What a loop tells its surroundings.
struct Callbacks {
  std::function<void(int64_t step, const Metrics&)> on_metrics;
  std::function<void(int64_t step)> on_evaluate;  ///< every eval_steps, and not after the last step
  /// Keeps the batch of a step that failed and returns where, for the message.
  std::function<std::string(int64_t step, const std::vector<BatchItem>&)> save_batch;
  const LoopState* start = nullptr;  ///< goes on from here; null = from the beginning
  /// After every step: `done` steps are done, `state` tells the state after them.
  std::function<void(int64_t done, const std::function<LoopState()>& state)> on_step_end;
  /// The ranks that share each step: a batch is divided among them, gradients are summed, and all come to the same
  /// weights, metrics and errors. All call the callbacks; `state` is complete on the main rank alone.
  dist::Communicator* world = &dist::solo();
};

class GradientSync;
class OptimizerShards;

/// The part both loops share: masters, optimizer, schedule, clipping, gradient flow, once-per-step requantisation.
class StepRunner {
 public:
  /// Throws ConfigError when `freeze` leaves nothing, or contradicts itself for this model.
  StepRunner(model::CausalLM& model, const LoopConfig& config, dist::Communicator& world = dist::solo());
  ~StepRunner();
  /// To be called before the forward of a step's last micro-batch.
  void expect_last_backward();
  /// After all micro-batches of a step were back-propagated. Returns loss-independent metrics (grad_norm,
  /// learning_rate, ...). Throws DataError on non-finite gradients (names step and tensor).
  /// Throws DataError as well when the masters of the ranks have come to differ (looked at now and then).
  Metrics finish_step(int64_t step);
  optim::Optimizer& optimizer() { return *optimizer_; }
  objective::Head head();
  /// Bytes of masters and optimizer state on this rank.
  int64_t held_bytes() const;
  /// Ends the training: the optimizer goes, and with zero: 1 the main rank gets the masters of all linears.
  void finish();
  /// Masters of what is trained or moves with it, and the optimizer's state. With zero: 1 all ranks call it, the main
  /// rank gets it whole.
  io::TensorMap state() const;
  /// Puts them back and requantises. Throws IoError when an entry is missing, of another shape, or of no trained
  /// parameter.
  void load_state(const io::TensorMap& tensors);

 private:
  void compare_ranks(int64_t step);
  io::TensorMap moving_masters() const;
  model::CausalLM& model_;
  const LoopConfig& config_;
  dist::Communicator& world_;
  std::vector<optim::Slot> slots_;      ///< all that is trained
  std::vector<optim::Slot> own_slots_;  ///< whose masters this rank steps
  std::unique_ptr<GradientSync> gradients_;
  std::unique_ptr<OptimizerShards> shards_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

struct SupervisedConfig : LoopConfig {
  base::Component objective{"cross_entropy"};
  int64_t batch_size = 16;  ///< sequences per optimizer step, split into micro-batches by max_tokens_per_micro_batch
  double divergence_factor = 30;  ///< 0 = only losses that are not finite stop the run
  int64_t divergence_window = 100;
  void fields(base::FieldVisitor& v) override;
};

/// Trains `model` on the examples of `feed`. `teacher` is needed when the objective needs one. Throws DataError,
/// before the optimizer acts, on a loss that is not finite or above divergence_factor times the median of the last
/// divergence_window ones, and on a gradient that is not finite, naming step, records and where the batch was saved.
void train_supervised(model::CausalLM& model, model::CausalLM* teacher, data::ExampleFeed& feed,
                      const SupervisedConfig& config, const Callbacks& callbacks);
/// The same on `examples`, in an order from `seed`.
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

/// Examples laid end to end, filled up to a multiple of 64 tokens.
nn::TargetBatch collate(const std::vector<const data::Example*>& examples, at::Device device);

}  // namespace rqat::train
