#include <algorithm>

#include "rqat/base/strings.h"
#include "rqat/rl/rollout.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

void LoopConfig::fields(base::FieldVisitor& v) {
  v.field("max_steps", max_steps, "optimizer steps", base::Range{1, 1e9});
  v.component("optimizer", optimizer, optim::optimizers(), "optimizer over the fp32 masters");
  v.group("lr_scheduler", lr_scheduler, "course of the learning rate");
  v.field("max_grad_norm", max_grad_norm, "global gradient norm is clipped to it; 0 = off", base::non_negative());
  v.field(
      "freeze", freeze,
      "parameter roles kept as they are: weight, bias, norm, embedding, head, router, scale, zero_point; where head "
      "and embedding are one tensor, name both or neither");
  v.field("max_tokens_per_micro_batch", max_tokens_per_micro_batch, "tokens of one forward and backward; bounds memory",
          base::Range{1, 1e9});
  v.field("gradient_checkpointing", gradient_checkpointing,
          "keep of each block its input alone and compute the block again in the backward: the same gradients, less "
          "memory, more time");
  v.field("zero", zero,
          "ZeRO stage: 1 = each rank keeps masters and optimizer state of its share of the parameters; 0 = of all",
          base::Range{0, 1});
  v.field("logging_steps", logging_steps, "steps between rows of metrics.jsonl", base::Range{1, 1e9});
  v.field("eval_steps", eval_steps, "steps between evaluations; 0 = none", base::non_negative());
  v.field("save_steps", save_steps, "steps between checkpoints; 0 = only when asked to stop", base::non_negative());
  v.field("save_total_limit", save_total_limit, "checkpoints kept, the newest ones; 0 = all", base::non_negative());
  v.field("keep_checkpoints", keep_checkpoints, "leave the checkpoints when the stage has finished");
}

std::vector<std::string> LoopConfig::check() const {
  static const std::vector<std::string> roles{"weight", "bias",   "norm",  "embedding",
                                              "head",   "router", "scale", "zero_point"};
  std::vector<std::string> faults;
  for (const std::string& role : freeze) {
    if (std::find(roles.begin(), roles.end(), role) == roles.end()) {
      const std::string near = base::nearest(role, roles);
      faults.push_back(base::cat("freeze: unknown role '", role, "'", near.empty() ? "" : "; did you mean '", near,
                                 near.empty() ? "" : "'?", " (", base::join(roles, ", "), ")"));
    }
  }
  return faults;
}

std::string LoopConfig::tied_freeze_fault() const {
  const auto frozen = [&](const char* role) { return std::find(freeze.begin(), freeze.end(), role) != freeze.end(); };
  if (frozen("head") == frozen("embedding")) return "";
  const bool head = frozen("head");
  return base::cat("freeze names `", head ? "head" : "embedding", "` but not `", head ? "embedding" : "head",
                   "`, and in this model both are one tensor (tie_word_embeddings); name both, or neither");
}

void SupervisedConfig::fields(base::FieldVisitor& v) {
  v.component("objective", objective, objective::objectives(), "loss (`rqat list objectives`)");
  v.field("batch_size", batch_size, "examples per optimizer step, over all micro-batches", base::Range{1, 1e6});
  v.field("divergence_factor", divergence_factor,
          "a loss above this many times the median of the last ones stops the run, its batch saved; 0 = never",
          base::non_negative());
  v.field("divergence_window", divergence_window, "steps whose median loss that is", base::Range{1, 1e6});
  LoopConfig::fields(v);
}

void ReinforceConfig::fields(base::FieldVisitor& v) {
  v.component("objective", objective, objective::objectives(), "policy objective");
  v.component("reward", reward, rl::rewards(), "how answers are scored");
  v.field("prompts_per_step", prompts_per_step, "problems per batch of rollouts", base::Range{1, 1e6});
  v.field("num_generations", num_generations, "answers sampled per problem (the group)", base::Range{2, 1e4});
  v.field("num_iterations", num_iterations, "passes over one batch of rollouts", base::Range{1, 100});
  v.field("mini_batches", mini_batches, "optimizer steps per pass", base::Range{1, 1000});
  v.field("scale_rewards", scale_rewards, "divide advantages by the group's standard deviation (off: Dr. GRPO)");
  v.field("temperature", temperature, "of sampling, and of the log-probs that are trained", base::positive());
  v.field("top_p", top_p, "nucleus of sampling", base::Range{0, 1, true});
  v.field("top_k", top_k, "candidates of sampling; 0 = all", base::non_negative());
  v.field("max_completion_length", max_completion_length, "longest answer in tokens", base::Range{1, 1e6});
  v.field("max_slots", max_slots, "sequences decoded at once", base::Range{1, 65536});
  LoopConfig::fields(v);
}

}  // namespace rqat::train
