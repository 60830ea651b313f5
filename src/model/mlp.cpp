// Shapes: T tokens, D hidden size, F intermediate size, N experts, K experts per token, P tokens of one expert.
#include "mlp.h"

#include <ATen/ATen.h>

#include "rqat/base/strings.h"

namespace rqat::model {
namespace {

using Point = std::shared_ptr<nn::ActivationTransform>;

at::Tensor transformed(const Point& transform, const at::Tensor& x) { return transform ? transform->apply(x) : x; }

/// down(activation(gate(x)) * up(x)).
class GatedMlp : public Mlp {
 public:
  /// `name` = "model.layers.3.mlp." or that of one expert.
  GatedMlp(const DecoderOptions& options, const std::string& name, int64_t hidden_size, int64_t intermediate_size,
           nn::LayerFactory& factory, Point input_point, Point down_point)
      : activation_(options.activation), input_point_(std::move(input_point)), down_point_(std::move(down_point)) {
    gate_ = factory.linear({name + "gate_proj", hidden_size, intermediate_size, options.mlp_bias});
    up_ = factory.linear({name + "up_proj", hidden_size, intermediate_size, options.mlp_bias});
    down_ = factory.linear({name + "down_proj", intermediate_size, hidden_size, options.mlp_bias});
  }

  at::Tensor forward(const at::Tensor& x_TD) override {
    const at::Tensor input_TD = transformed(input_point_, x_TD);
    const at::Tensor product_TF = nn::gated(activation_, gate_->forward(input_TD), up_->forward(input_TD));
    return down_->forward(transformed(down_point_, product_TF));
  }

  std::vector<nn::LinearBase*> linears() override { return {gate_.get(), up_.get(), down_.get()}; }

 private:
  nn::GatedActivation activation_;
  Point input_point_, down_point_;
  std::unique_ptr<nn::LinearBase> gate_, up_, down_;
};

class Experts : public Mlp {
 public:
  Experts(const ModelConfig& config, const DecoderOptions& options, const std::string& name, nn::LayerFactory& factory)
      : options_(options.experts), input_point_(factory.activation(name + "mlp_input")) {
    router_.name = name + "mlp.gate.weight";
    router_.role = nn::Role::kRouter;
    const Point down_point = factory.activation(name + "down_input");
    for (int64_t i = 0; i < options_.count; ++i) {
      experts_.push_back(std::make_unique<GatedMlp>(options, base::cat(name, "mlp.experts.", i, "."),
                                                    config.hidden_size, options_.intermediate_size, factory, nullptr,
                                                    down_point));
    }
  }

  at::Tensor forward(const at::Tensor& x_TD) override {
    const at::Tensor input_TD = transformed(input_point_, x_TD);
    const auto [weight_TK, expert_TK] = route(x_TD);
    at::Tensor out_TD = at::zeros_like(input_TD);
    for (int64_t expert = 0; expert < options_.count; ++expert) {
      const at::Tensor places = at::eq(expert_TK, expert).nonzero();  // [P, 2]: token, rank
      if (places.size(0) == 0) continue;
      const at::Tensor token_P = places.select(1, 0), rank_P = places.select(1, 1);
      const at::Tensor y_PD = experts_[static_cast<size_t>(expert)]->forward(input_TD.index_select(0, token_P));
      const at::Tensor weight_P = weight_TK.index({token_P, rank_P});
      out_TD.index_add_(0, token_P, y_PD * weight_P.unsqueeze(1));
    }
    return out_TD;
  }

  std::vector<nn::LinearBase*> linears() override {
    std::vector<nn::LinearBase*> all;
    for (const auto& expert : experts_) {
      for (nn::LinearBase* linear : expert->linears()) all.push_back(linear);
    }
    return all;
  }

  nn::Parameter* router() override { return &router_; }

 private:
  /// Weights and indices [T, K] of the experts of each token.
  std::pair<at::Tensor, at::Tensor> route(const at::Tensor& x_TD) {
    const at::Tensor logits_TN = nn::linear(x_TD, router_.compute, {}, nn::gradient_of(router_), {});
    const at::Tensor probability_TN = at::softmax(logits_TN, -1, at::kFloat);
    auto [weight_TK, expert_TK] = probability_TN.topk(options_.per_token, -1);
    if (options_.normalize) weight_TK = weight_TK / weight_TK.sum(-1, true);
    return {weight_TK.to(x_TD.scalar_type()), expert_TK};
  }

  ExpertOptions options_;
  nn::Parameter router_;
  Point input_point_;
  std::vector<std::unique_ptr<GatedMlp>> experts_;
};

}  // namespace

std::unique_ptr<Mlp> make_mlp(const ModelConfig& config, const DecoderOptions& options, bool experts,
                              const std::string& name, nn::LayerFactory& factory) {
  if (experts) return std::make_unique<Experts>(config, options, name, factory);
  return std::make_unique<GatedMlp>(options, name + "mlp.", config.hidden_size, config.intermediate_size, factory,
                                    factory.activation(name + "mlp_input"), factory.activation(name + "down_input"));
}

}  // namespace rqat::model
