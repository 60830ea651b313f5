// Clipped policy gradient on groups of sampled answers. Per row (token), with rho = exp(log_prob - old_log_prob):
//   loss = w * -min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A) + beta * k3,
//   k3 = exp(ref - log_prob) - (ref - log_prob) - 1,
//   w  = min(exp(old_log_prob - rollout_log_prob), tis_cap): truncated importance sampling, no gradient through it.
// The value's gradient reaches the logits through one coefficient per row: dL/dlog_prob.
#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/ops/loss.h"
#include "tiles.h"

namespace rqat::objective {

namespace {

struct GrpoConfig : base::Config {
  double epsilon = 0.2;
  double epsilon_high = 0.28;
  double beta = 0.0;
  std::string loss_type = "token";
  double importance_cap = 2.0;
  void fields(base::FieldVisitor& v) override {
    v.field("epsilon", epsilon, "lower clip of the probability ratio: 1 - epsilon", base::Range{0, 1});
    v.field("epsilon_high", epsilon_high, "upper clip: 1 + epsilon_high (DAPO 2503.14476 uses 0.28)",
            base::non_negative());
    v.field("beta", beta, "weight of the KL to the reference model; 0 = none", base::non_negative());
    v.choice("loss_type", loss_type, {"token", "sequence"},
             "token: mean over all tokens of the step (DAPO); sequence: mean over sequences of token means (GRPO)");
    v.field("importance_cap", importance_cap,
            "cap of the importance weight between training and rollout log-probs (TIS); 0 = no correction",
            base::non_negative());
  }
};

class Grpo : public Objective {
 public:
  explicit Grpo(const GrpoConfig& config) : config_(config) {}
  bool needs_policy() const override { return true; }
  bool needs_reference() const override { return config_.beta > 0; }

  ObjectiveOutput compute(const ObjectiveInput& input) const override {
    const at::NoGradGuard no_grad;
    if (input.policy == nullptr) throw base::ConfigError("objective grpo belongs in a `reinforce` stage");
    const PolicyTargets& policy = *input.policy;
    if (config_.beta > 0 && !policy.reference_log_prob.defined()) {
      throw base::ConfigError(base::cat("objective grpo: beta is ", config_.beta,
                                        " but there is no reference model; name one (`reference`), or set beta: 0"));
    }
    const at::Tensor row_scale = row_scales(input, policy);
    const at::Tensor row_weight = tile_weights(input, 0, input.hidden.size(0)) * input.normalizer;
    ObjectiveOutput output;
    if (input.want_gradient) output.grad_hidden = at::empty_like(input.hidden);
    for_each_tile(input.hidden.size(0), input.head.weight->plain.size(0), [&](int64_t begin, int64_t end) {
      at::Tensor logits = tile_logits(input.hidden, input.head, begin, end);
      const at::Tensor weights = row_weight.slice(0, begin, end);
      const at::Tensor targets = input.targets.slice(0, begin, end).masked_fill(weights == 0, 0);
      const ops::RowLogProb now = ops::log_prob_rows(logits, targets, policy.temperature);
      const at::Tensor coefficient = tile_terms(policy, now, row_scale.slice(0, begin, end), weights, begin, output);
      if (!input.want_gradient) return;
      ops::log_prob_rows_backward(logits, targets, coefficient, policy.temperature);
      backpropagate_tile(logits, input.hidden, input.head, begin, end, output.grad_hidden);
    });
    return output;
  }

 private:
  /// What each row counts in the step's mean.
  at::Tensor row_scales(const ObjectiveInput& input, const PolicyTargets& policy) const {
    at::Tensor weights = tile_weights(input, 0, input.hidden.size(0));
    if (config_.loss_type == "token" || input.hidden.size(0) == 0) return weights;
    weights = weights * input.normalizer;
    const int64_t count = policy.sequence.max().item<int64_t>() + 1;
    const at::Tensor lengths = at::zeros({count}, weights.options())
                                   .index_add_(0, policy.sequence, (weights != 0).to(at::kFloat))
                                   .clamp_min_(1);
    return weights / lengths.index_select(0, policy.sequence) / static_cast<double>(policy.num_sequences);
  }

  /// Adds loss and metrics of a tile; returns dL/dlog_prob per row.
  at::Tensor tile_terms(const PolicyTargets& policy, const ops::RowLogProb& now, const at::Tensor& scale,
                        const at::Tensor& weights, int64_t begin, ObjectiveOutput& output) const {
    const auto part = [&](const at::Tensor& tensor) { return tensor.slice(0, begin, begin + weights.size(0)); };
    const auto add = [&](const char* name, const at::Tensor& rows) {
      output.sums[name] += weighted_sum(rows, weights);
    };
    const at::Tensor old = policy.old_log_prob.defined() ? part(policy.old_log_prob) : now.log_prob;
    const at::Tensor advantage = part(policy.advantage);
    const at::Tensor ratio = (now.log_prob - old).clamp(-20, 20).exp();
    const at::Tensor plain = ratio * advantage;
    const at::Tensor clipped = ratio.clamp(1 - config_.epsilon, 1 + config_.epsilon_high) * advantage;
    const at::Tensor is_clipped = clipped < plain;
    at::Tensor loss = -at::minimum(plain, clipped);
    at::Tensor coefficient = at::where(is_clipped, at::zeros_like(plain), -plain);  // d(rho A)/dlogp = rho A
    if (policy.rollout_log_prob.defined()) {
      const at::Tensor gap = old - part(policy.rollout_log_prob);
      add("log_prob_gap", gap.abs());
      add("rollout_kl", gap.neg().exp() + gap - 1);  // k3 of KL(rollout || training)
      if (config_.importance_cap > 0) {
        const at::Tensor weight = gap.exp().clamp_max(config_.importance_cap);
        add("importance_weight", weight);
        loss = loss * weight;
        coefficient = coefficient * weight;
      }
    }
    if (policy.reference_log_prob.defined()) {
      const at::Tensor delta = (part(policy.reference_log_prob) - now.log_prob).clamp(-20, 20);
      const at::Tensor kl = delta.exp() - delta - 1;
      add("reference_kl", kl);
      loss = loss + config_.beta * kl;
      coefficient = coefficient + config_.beta * (1 - delta.exp());
    }
    output.loss += weighted_sum(loss, scale);
    add("entropy", now.entropy);
    add("clip_share", is_clipped.to(at::kFloat));
    add("policy_ratio", ratio);
    output.sums["rows"] += weights.sum(at::kDouble).item<double>();
    return coefficient.masked_fill(weights == 0, 0) * scale;
  }

  GrpoConfig config_;
};

}  // namespace

base::Entry<Objective> grpo_entry() {
  return base::make_entry<base::Entry<Objective>, GrpoConfig>(
      "grpo", "clipped policy gradient on group advantages, with truncated importance sampling", "2402.03300",
      [](const GrpoConfig& config) { return std::make_unique<Grpo>(config); });
}

}  // namespace rqat::objective
