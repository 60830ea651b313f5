// One micro-batch: forward, fused loss, backward through the blocks.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "rqat/dist/communicator.h"
#include "rqat/model/causal_lm.h"
#include "rqat/objective/objective.h"

namespace rqat::train {

/// Sums over the micro-batches of a step.
struct StepSums {
  double loss = 0;
  std::map<std::string, double> sums;
  void add(const objective::ObjectiveOutput& output);
  /// Every sum divided by the row count.
  std::map<std::string, double> means() const;
  /// The sums of all ranks.
  StepSums over_ranks(dist::Communicator& world) const;
};

/// Hidden states of `rows` enter the objective outside autograd; what it returns is sent back through the graph.
/// `input` needs everything but `hidden`.
objective::ObjectiveOutput backpropagate(model::CausalLM& model, const nn::TokenBatch& tokens, const at::Tensor& rows,
                                         const objective::Objective& objective, objective::ObjectiveInput input);

/// Detached hidden states of `rows`.
at::Tensor hidden_rows(model::CausalLM& model, const nn::TokenBatch& tokens, const at::Tensor& rows);

}  // namespace rqat::train
