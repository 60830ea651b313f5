// Rollouts as training batches: each group's prompt is laid out once, its answers attend to it, and
// what all prompts begin with is laid out once for them (ops::Segment::parent).
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "rqat/dist/communicator.h"
#include "rqat/nn/batch.h"
#include "rqat/rl/rollout.h"

namespace rqat::train {

/// Micro-batches are filled up to a multiple of this (nn::pad_token_batch).
inline constexpr int64_t kTokenMultiple = 64;

/// The answers of one prompt.
struct RolloutGroup {
  std::vector<const rl::Rollout*> rollouts;
};

std::vector<RolloutGroup> groups_of(const rl::RolloutBatch& batch);
/// Leaves the groups in which some advantage is not zero.
void keep_informative(std::vector<RolloutGroup>& groups);

/// Rows predict the answers' tokens; all [R].
struct PolicyMicroBatch {
  nn::TokenBatch tokens;
  at::Tensor rows, targets, sequence;                                        // int64
  at::Tensor advantage, rollout_log_prob, old_log_prob, reference_log_prob;  // fp32; the last two may be undefined
  void move_to(at::Device device);
};

/// What one optimizer step sees.
struct PolicyBatch {
  std::vector<PolicyMicroBatch> micro_batches;
  int64_t num_rows = 0, num_sequences = 0;  ///< over all ranks
};

/// Splits groups into `mini_batches` steps of about equal size, and what falls to this rank of each into micro-batches
/// of at most `max_tokens`. All ranks give the same groups.
std::vector<PolicyBatch> make_policy_batches(const std::vector<RolloutGroup>& groups, int64_t mini_batches,
                                             int64_t max_tokens, const dist::Communicator& world = dist::solo());

}  // namespace rqat::train
