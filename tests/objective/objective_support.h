// Problems with random numbers, and every objective written again in fp64 on whole [R, V] logits with ordinary
// autograd. Shapes: R rows, V vocabulary, D hidden size.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/objective/objective.h"

namespace rqat::objective {

inline std::unique_ptr<Objective> make_objective(const std::string& name, const std::string& yaml = "{}") {
  base::Component chosen(name);
  chosen.config = objectives().find_info(name)->make_config();
  base::Faults faults;
  base::read_config(*chosen.config, base::Node::parse(yaml, "test"), name, faults);
  faults.raise("test");
  return objectives().make(chosen);
}

struct Problem {
  at::Tensor hidden, targets, row_weight, teacher_hidden;
  ops::PreparedWeight head, teacher_head;
  PolicyTargets policy;
  double normalizer = 1;
  double softcap = 0;  ///< of the student's logits

  int64_t rows() const { return hidden.size(0); }
};

inline ops::PreparedWeight random_head(int64_t vocab, int64_t width) {
  return ops::prepare_weight(at::randn({vocab, width}) * 0.6);
}

/// Sequences of 3 rows each; log-probs near those of the model, so that ratios lie on both sides of the clip.
inline Problem random_problem(int64_t rows = 7, int64_t vocab = 53, int64_t width = 16, int64_t teacher_vocab = 53,
                              uint64_t seed = 3) {
  at::manual_seed(seed);
  Problem problem;
  problem.hidden = at::randn({rows, width});
  problem.head = random_head(vocab, width);
  problem.teacher_hidden = at::randn({rows, width / 2});
  problem.teacher_head = random_head(teacher_vocab, width / 2);
  problem.targets = at::randint(std::min(vocab, teacher_vocab), {rows}, at::kLong);
  problem.policy.advantage = at::randn({rows});
  problem.policy.sequence = at::arange(rows, at::kLong).div(3, "floor");
  problem.policy.num_sequences = (rows + 2) / 3;
  problem.policy.temperature = 0.8;
  const at::Tensor now = (at::mm(problem.hidden, problem.head.plain.t()) / 0.8)
                             .log_softmax(1)
                             .gather(1, problem.targets.unsqueeze(1))
                             .squeeze(1);
  problem.policy.old_log_prob = now + at::randn({rows}) * 0.4;
  problem.policy.rollout_log_prob = problem.policy.old_log_prob + at::randn({rows}) * 0.8;
  problem.policy.reference_log_prob = now + at::randn({rows}) * 0.5;
  problem.normalizer = static_cast<double>(rows);
  return problem;
}

struct Computed {
  ObjectiveOutput output;
  at::Tensor head_grad;
};

inline Computed compute(const Objective& objective, const Problem& problem, bool want_gradient = true) {
  Computed computed;
  computed.head_grad = at::zeros_like(problem.head.plain);
  const TeacherTargets teacher{problem.teacher_hidden, {&problem.teacher_head, nullptr}};
  ObjectiveInput input;
  input.hidden = problem.hidden;
  input.targets = problem.targets;
  input.row_weight = problem.row_weight;
  input.head = {&problem.head, want_gradient ? &computed.head_grad : nullptr, problem.softcap};
  input.teacher = &teacher;
  input.policy = &problem.policy;
  input.normalizer = problem.normalizer;
  input.want_gradient = want_gradient;
  computed.output = objective.compute(input);
  return computed;
}

// --- the formulas, per row, in fp64 ---

inline at::Tensor log_probs64(const Problem& problem, const at::Tensor& logits, double temperature) {
  return (logits / temperature).log_softmax(1).gather(1, problem.targets.clamp_min(0).unsqueeze(1)).squeeze(1);
}

inline at::Tensor cross_entropy64(const Problem& problem, const at::Tensor& logits) {
  return -log_probs64(problem, logits, 1);
}

inline at::Tensor divergence64(const Problem& problem, const at::Tensor& logits, double beta, double temperature) {
  const int64_t common = std::min(logits.size(1), problem.teacher_head.plain.size(0));
  const at::Tensor teacher =
      at::mm(problem.teacher_hidden.to(at::kDouble), problem.teacher_head.plain.to(at::kDouble).t());
  const at::Tensor log_q = (logits.slice(1, 0, common) / temperature).log_softmax(1);
  const at::Tensor log_p = (teacher.slice(1, 0, common) / temperature).log_softmax(1);
  const at::Tensor p = log_p.exp(), q = log_q.exp();
  const double square = temperature * temperature;
  if (beta == 0) return (p * (log_p - log_q)).sum(1) * square;
  if (beta == 1) return (q * (log_q - log_p)).sum(1) * square;
  const at::Tensor log_m = (beta * p + (1 - beta) * q).log();
  return (beta * (p * (log_p - log_m)).sum(1) + (1 - beta) * (q * (log_q - log_m)).sum(1)) * square;
}

struct GrpoSettings {
  double low = 0.2, high = 0.28, beta = 0, cap = 2;
};

inline at::Tensor grpo64(const Problem& problem, const at::Tensor& logits, GrpoSettings settings) {
  const PolicyTargets& policy = problem.policy;
  const at::Tensor now = log_probs64(problem, logits, policy.temperature), advantage = policy.advantage.to(at::kDouble);
  const at::Tensor old = policy.old_log_prob.defined() ? policy.old_log_prob.to(at::kDouble) : now.detach();
  const at::Tensor ratio = (now - old).exp();
  at::Tensor loss = -at::minimum(ratio * advantage, ratio.clamp(1 - settings.low, 1 + settings.high) * advantage);
  if (policy.rollout_log_prob.defined() && settings.cap > 0) {
    loss = loss * (old - policy.rollout_log_prob.to(at::kDouble)).exp().clamp_max(settings.cap);
  }
  if (settings.beta == 0) return loss;
  const at::Tensor delta = policy.reference_log_prob.to(at::kDouble) - now;
  return loss + settings.beta * (delta.exp() - delta - 1);
}

/// How rows are averaged: by the normalizer, or by the lengths of their sequences.
inline at::Tensor row_weights64(const Problem& problem, bool by_sequence) {
  const at::Tensor weights =
      problem.row_weight.defined() ? problem.row_weight.to(at::kDouble) : at::ones({problem.rows()}, at::kDouble);
  if (!by_sequence) return weights / problem.normalizer;
  const int64_t sequences = problem.policy.sequence.max().item<int64_t>() + 1;
  const at::Tensor counted = (weights != 0).to(at::kDouble);
  const at::Tensor lengths = at::zeros({sequences}, at::kDouble).index_add(0, problem.policy.sequence, counted);
  return weights / lengths.index_select(0, problem.policy.sequence) / static_cast<double>(problem.policy.num_sequences);
}

struct ObjectiveCase {
  std::string label, name, yaml;
  std::function<at::Tensor(const Problem&, const at::Tensor& logits)> loss;  ///< scalar, weights applied
};

inline at::Tensor weighted64(const Problem& problem, const at::Tensor& rows, bool by_sequence = false) {
  const at::Tensor weights = row_weights64(problem, by_sequence);
  return (rows.masked_fill(weights == 0, 0) * weights).sum();
}

/// At least one for each entry of the registry: a test sees to it.
inline std::vector<ObjectiveCase> objective_cases() {
  const auto divergence = [](double beta, double temperature) {
    return [=](const Problem& p, const at::Tensor& logits) {
      return weighted64(p, divergence64(p, logits, beta, temperature));
    };
  };
  const auto grpo = [](GrpoSettings settings, bool by_sequence) {
    return [=](const Problem& p, const at::Tensor& logits) {
      return weighted64(p, grpo64(p, logits, settings), by_sequence);
    };
  };
  return {
      {"cross_entropy", "cross_entropy", "{}",
       [](const Problem& p, const at::Tensor& logits) { return weighted64(p, cross_entropy64(p, logits)); }},
      {"kl_forward", "kl_forward", "{}", divergence(0, 1)},
      {"kl_forward_soft", "kl_forward", "{temperature: 2}", divergence(0, 2)},
      {"kl_reverse", "kl_reverse", "{temperature: 0.7}", divergence(1, 0.7)},
      {"jsd", "jsd", "{}", divergence(0.5, 1)},
      {"jsd_uneven", "jsd", "{beta: 0.2, temperature: 1.5}", divergence(0.2, 1.5)},
      {"mix", "mix", "{parts: [kl_forward, {jsd: {beta: 0.3}}, cross_entropy], weights: [1, 0.5, 0.2]}",
       [](const Problem& p, const at::Tensor& logits) {
         return weighted64(p, divergence64(p, logits, 0, 1) + 0.5 * divergence64(p, logits, 0.3, 1) +
                                  0.2 * cross_entropy64(p, logits));
       }},
      {"mix_unweighted", "mix", "{parts: [kl_reverse, cross_entropy]}",
       [](const Problem& p, const at::Tensor& logits) {
         return weighted64(p, divergence64(p, logits, 1, 1) + cross_entropy64(p, logits));
       }},
      {"mix_policy", "mix", "{parts: [{grpo: {loss_type: sequence, beta: 0.1}}, cross_entropy], weights: [0.5, 0.3]}",
       [](const Problem& p, const at::Tensor& logits) {
         return 0.5 * weighted64(p, grpo64(p, logits, {0.2, 0.28, 0.1, 2}), true) +
                0.3 * weighted64(p, cross_entropy64(p, logits));
       }},
      {"grpo", "grpo", "{}", grpo({}, false)},
      {"grpo_sequence", "grpo",
       "{loss_type: sequence, beta: 0.05, epsilon: 0.1, epsilon_high: 0.3, importance_cap: 1.2}",
       grpo({0.1, 0.3, 0.05, 1.2}, true)},
      {"grpo_uncorrected", "grpo", "{importance_cap: 0, beta: 0.3}", grpo({0.2, 0.28, 0.3, 0}, false)},
  };
}

struct Reference {
  double loss = 0;
  at::Tensor hidden_grad, head_grad;
};

inline Reference reference(const ObjectiveCase& objective, const Problem& problem) {
  const at::AutoGradMode grad_mode(true);
  const at::Tensor hidden = problem.hidden.to(at::kDouble).requires_grad_(true);
  const at::Tensor head = problem.head.plain.to(at::kDouble).requires_grad_(true);
  at::Tensor logits = at::mm(hidden, head.t());
  if (problem.softcap > 0) logits = problem.softcap * at::tanh(logits / problem.softcap);
  const at::Tensor loss = objective.loss(problem, logits);
  const std::vector<at::Tensor> grads = torch::autograd::grad({loss}, {hidden, head});
  return {loss.item<double>(), grads[0], grads[1]};
}

/// Largest difference as a share of the largest value.
inline double relative_difference(const at::Tensor& actual, const at::Tensor& wanted) {
  const at::Tensor reference = wanted.to(at::kDouble);
  return ((actual.to(at::kDouble) - reference).abs().max() / reference.abs().max().clamp_min(1e-300)).item<double>();
}

}  // namespace rqat::objective
