#include "checkpointed_block.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace rqat::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Rerun : torch::CustomClassHolder {
  Rerun(DecoderBlock& of, std::shared_ptr<const KeptContext> in) : block(of), context(std::move(in)) {}
  DecoderBlock& block;
  std::shared_ptr<const KeptContext> context;
};

class CheckpointedBlock : public torch::autograd::Function<CheckpointedBlock> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden_TD,
                            const c10::intrusive_ptr<Rerun>& rerun) {
    context->save_for_backward({hidden_TD});
    context->saved_data["rerun"] = c10::IValue::make_capsule(rerun);
    return rerun->block.forward(hidden_TD, rerun->context->forward);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto rerun = c10::static_intrusive_pointer_cast<Rerun>(context->saved_data.at("rerun").toCapsule());
    const at::Tensor hidden_TD = context->get_saved_variables()[0].detach().requires_grad_(true);
    const at::AutoGradMode grad_mode(true);
    const at::Tensor output_TD = rerun->block.forward(hidden_TD, rerun->context->forward);
    return {torch::autograd::grad({output_TD}, {hidden_TD}, {gradients[0]})[0], at::Tensor()};
  }
};

}  // namespace

std::shared_ptr<const KeptContext> keep_context(const ForwardContext& context) {
  auto kept = std::make_shared<KeptContext>(KeptContext{*context.batch, context});
  kept->forward.batch = &kept->batch;
  return kept;
}

at::Tensor checkpointed_forward(DecoderBlock& block, const at::Tensor& hidden_TD,
                                const std::shared_ptr<const KeptContext>& context) {
  return CheckpointedBlock::apply(hidden_TD, c10::make_intrusive<Rerun>(block, context));
}

}  // namespace rqat::model
