#include "rqat/pipeline/metrics.h"

namespace rqat::pipeline {

namespace {

MetricTable step_metrics() {
  return {
      "Training steps",
      "RUN/STAGE/metrics.jsonl of train and reinforce stages, one row every `logging_steps` steps, and the "
      "TensorBoard files in RUN/STAGE/tensorboard",
      {{"step", "1", "", "number of the optimizer step, from 0"},
       {"loss", "nats per token", "lower",
        "what the step minimized: the objective's mean over the counted tokens (grpo: the surrogate loss, which does "
        "not show progress; look at reward)"},
       {"grad_norm", "1", "", "global norm of all gradients before clipping to max_grad_norm"},
       {"learning_rate", "1", "", "learning rate of the weights in this step"},
       {"entropy", "nats per token", "", "mean entropy of the trained model's predictions"},
       {"step_seconds", "seconds", "lower", "wall time of the step, rollouts included"},
       {"tokens_per_second", "tokens per second", "higher",
        "train: tokens of the step (prompts included) by its time; reinforce: tokens sampled by the time of sampling"},
       {"target_tokens", "tokens", "", "tokens that the loss counts"},
       {"cross_entropy", "nats per token", "lower", "-log p(next token) on counted tokens"},
       {"kl_forward", "nats per token", "lower", "KL(teacher || student), times the temperature squared"},
       {"kl_reverse", "nats per token", "lower", "KL(student || teacher), times the temperature squared"},
       {"codes_flipped", "share", "",
        "integer codes that the step changed, of all codes (train: counted in every 13th linear of a large model); "
        "codes_changed in stage.json: those that differ from the codes the stage began with"},
       {"jsd", "nats per token", "lower", "generalized Jensen-Shannon divergence of teacher and student"},
       {"eval_accuracy", "share", "higher",
        "problems of `evaluation.data` answered rightly by greedy decoding, measured just before the step"}}};
}

MetricTable reinforce_metrics() {
  return {
      "Reinforcement steps",
      "the same files of reinforce stages, beside those above",
      {{"reward", "1", "higher", "mean reward of the sampled answers"},
       {"reward_std", "1", "", "standard deviation of rewards inside a group, mean over groups"},
       {"zero_std_groups", "share", "lower", "groups whose answers all earned the same: nothing to learn from"},
       {"nonzero_advantage_groups", "share", "higher", "groups with at least one advantage that is not zero"},
       {"trained_groups", "groups", "higher",
        "groups that entered the update: those whose rewards differ, or all where the objective has a KL term"},
       {"mean_length", "tokens", "", "mean length of the sampled answers"},
       {"cut_share", "share", "lower", "answers cut at max_completion_length"},
       {"seconds", "seconds", "lower", "time of sampling alone, without scoring"},
       {"rollout_seconds", "seconds", "lower", "time of sampling and scoring"},
       {"update_seconds", "seconds", "lower", "time of log-probs, backward passes and optimizer steps"},
       {"log_prob_gap", "nats per token", "lower",
        "mean |log p of the update - log p of the rollout| before the update: kernels round differently, nothing else"},
       {"rollout_kl", "nats per token", "lower", "KL(rollout || training policy) from the same gap (k3 estimate)"},
       {"importance_weight", "1", "", "mean truncated importance weight that undoes the gap; near 1"},
       {"clip_share", "share", "", "tokens whose probability ratio was clipped"},
       {"policy_ratio", "1", "", "mean probability ratio of new to old policy; 1 in the first update of a batch"},
       {"reference_kl", "nats per token", "", "KL to the reference model (k3 estimate), where beta > 0"}}};
}

MetricTable evaluation_metrics() {
  return {"Evaluations",
          "RUN/STAGE/results.json, per model and task set",
          {{"overall.value", "share", "higher", "problems answered rightly; low and high: 95 % Wilson interval"},
           {"by_family", "share", "higher", "the same by task family"},
           {"perplexity", "1", "lower", "exp of the mean cross-entropy on worked solutions"},
           {"kl_to_teacher", "nats per token", "lower", "KL(teacher || model) on worked solutions"},
           {"mean_response_tokens", "tokens", "", "mean length of the answers"},
           {"cut_share", "share", "lower", "answers cut at max_new_tokens"},
           {"seconds", "seconds", "lower", "time of answering"},
           {"tokens_per_second", "tokens per second", "higher", "tokens sampled by that time"},
           {"bits_per_weight", "bits", "lower", "of the linears of all blocks, scales and zero points included"},
           {"size_bytes", "bytes", "lower", "of the model as served: codes, scales, zero points, everything else"},
           {"differences.mean", "share", "higher",
            "accuracy of `to` minus that of `from` on the same problems; low and high: 95 % bootstrap interval; shown: "
            "the interval excludes 0"}}};
}

MetricTable quantization_metrics() {
  return {"Quantization",
          "RUN/STAGE/quant_report.json, per layer; means in stage.json",
          {{"error", "1", "lower",
            "||(W_hat - W) X||^2 / ||W X||^2 on calibration inputs; without calibration, of the weight alone"},
           {"rtn_error", "1", "lower", "the same for round-to-nearest"},
           {"fallback", "1", "lower", "round-to-nearest was better and was taken"},
           {"seconds", "seconds", "lower", "time of the layer"}}};
}

}  // namespace

const std::vector<MetricTable>& metric_tables() {
  static const std::vector<MetricTable> tables{step_metrics(), reinforce_metrics(), evaluation_metrics(),
                                               quantization_metrics()};
  return tables;
}

const MetricInfo* find_step_metric(const std::string& name) {
  for (size_t table = 0; table < 2; ++table) {
    for (const MetricInfo& info : metric_tables()[table].metrics) {
      if (info.name == name) return &info;
    }
  }
  return nullptr;
}

}  // namespace rqat::pipeline
