// Training losses from hidden states. The vocabulary never materialises: rows are walked in tiles of bounded size, each
// tile's logits are made, used for value and gradient, and dropped.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

#include "rqat/base/registry.h"
#include "rqat/ops/linear.h"

namespace rqat::objective {

/// A language-model head: logits = hidden * weight^T, or cap * tanh(hidden * weight^T / cap).
struct Head {
  const ops::PreparedWeight* weight = nullptr;  ///< [V, D]
  at::Tensor* weight_grad = nullptr;            ///< fp32 [V, D] to add into; nullptr = frozen
  double softcap = 0;                           ///< 0 = none
};

/// What the teacher says about the rows: its hidden states and head (logits are made tile by tile).
struct TeacherTargets {
  at::Tensor hidden;  ///< [R, D_teacher]
  Head head;
};

/// Per-row quantities of a policy-gradient step (all fp32 [R] unless said otherwise).
struct PolicyTargets {
  at::Tensor advantage;
  at::Tensor
      old_log_prob;  ///< of the policy that the ratio is taken to; undefined = on-policy (the present one, detached)
  at::Tensor rollout_log_prob;    ///< as sampled; undefined = no importance correction
  at::Tensor reference_log_prob;  ///< undefined = no KL term
  at::Tensor sequence;            ///< int64 [R]: index of the row's sequence, 0..num_sequences-1, ascending
  int64_t num_sequences = 0;      ///< over all micro-batches and ranks of the step: the normaliser of sequence means
  double temperature = 1.0;       ///< of sampling: log-probs are of softmax(logits / T)
};

struct ObjectiveInput {
  at::Tensor hidden;      ///< [R, D], rows that predict a counted token; no autograd
  at::Tensor targets;     ///< int64 [R]; of masked rows any number (-100)
  at::Tensor row_weight;  ///< fp32 [R] or undefined (all 1); 0 = masked
  Head head;
  const TeacherTargets* teacher = nullptr;
  const PolicyTargets* policy = nullptr;
  double normalizer = 1;  ///< counted tokens of the whole step: loss and gradient are divided by it
  bool want_gradient = true;
};

struct ObjectiveOutput {
  double loss = 0;                     ///< already divided by the normaliser: micro-batches add up
  at::Tensor grad_hidden;              ///< [R, D] in hidden's dtype
  std::map<std::string, double> sums;  ///< metrics as sums over rows; "rows" holds the row count. Shown divided by rows
};

class Objective {
 public:
  virtual ~Objective() = default;
  virtual bool needs_teacher() const { return false; }
  virtual bool needs_policy() const { return false; }
  /// A policy objective with a KL term: PolicyTargets::reference_log_prob must be there.
  virtual bool needs_reference() const { return false; }
  virtual ObjectiveOutput compute(const ObjectiveInput& input) const = 0;
};

/// Registry kind "objectives": cross_entropy, kl_forward, kl_reverse, jsd (beta), mix (weighted sum of others), grpo.
const base::Registry<Objective>& objectives();

/// log softmax(hidden head^T / T)[target] and entropies, fp32 [R] each, tile by tile, no gradient.
struct LogProbs {
  at::Tensor log_prob, entropy;
};
LogProbs log_probs(const at::Tensor& hidden, const Head& head, const at::Tensor& targets, double temperature = 1.0);
/// Sum over rows of KL(teacher || student) and of the student's -log p(target): for evaluation.
struct DistillationScores {
  double kl_sum = 0, nll_sum = 0;
  int64_t rows = 0;
};
DistillationScores score(const at::Tensor& hidden, const Head& head, const at::Tensor& targets,
                         const TeacherTargets* teacher);

/// Rows of a tile for a vocabulary of V: tile bytes stay below about 32 MiB of fp32, between 16 and 1024 rows.
int64_t tile_rows(int64_t vocab_size);

}  // namespace rqat::objective
