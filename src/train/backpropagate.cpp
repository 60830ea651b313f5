#include "backpropagate.h"

#include <torch/csrc/autograd/autograd.h>

namespace rqat::train {

void StepSums::add(const objective::ObjectiveOutput& output) {
  loss += output.loss;
  for (const auto& [key, value] : output.sums) sums[key] += value;
}

std::map<std::string, double> StepSums::means() const {
  std::map<std::string, double> means;
  const auto rows = sums.find("rows");
  for (const auto& [key, value] : sums) {
    if (key != "rows") means[key] = value / rows->second;
  }
  return means;
}

StepSums StepSums::over_ranks(dist::Communicator& world) const {
  if (world.alone()) return *this;
  std::map<std::string, double> named = sums;
  named["/loss"] = loss;  // no metric has such a name
  StepSums all;
  all.sums = world.sum(named);
  all.loss = all.sums.at("/loss");
  all.sums.erase("/loss");
  return all;
}

objective::ObjectiveOutput backpropagate(model::CausalLM& model, const nn::TokenBatch& tokens, const at::Tensor& rows,
                                         const objective::Objective& objective, objective::ObjectiveInput input) {
  at::Tensor hidden_TD;
  {
    const at::AutoGradMode grad_mode(true);
    hidden_TD = model.hidden(tokens);
  }
  input.hidden = hidden_TD.detach().index_select(0, rows);
  objective::ObjectiveOutput output = objective.compute(input);
  if (!input.want_gradient) return output;
  const at::Tensor grad_TD = at::zeros_like(hidden_TD.detach()).index_copy_(0, rows, output.grad_hidden);
  torch::autograd::backward({hidden_TD}, {grad_TD});
  return output;
}

at::Tensor hidden_rows(model::CausalLM& model, const nn::TokenBatch& tokens, const at::Tensor& rows) {
  const at::NoGradGuard no_grad;
  return model.hidden(tokens).index_select(0, rows);
}

}  // namespace rqat::train
