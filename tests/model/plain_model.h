// The same architecture written plainly with at:: operations and ordinary autograd, one sequence at a time: an oracle.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "rqat/io/safetensors.h"
#include "rqat/model/model_config.h"

namespace rqat::model {

class PlainModel {
 public:
  /// Takes copies of the weights in fp64 that require grad.
  PlainModel(ModelConfig config, const io::TensorMap& weights) : config_(std::move(config)) {
    for (const auto& [name, tensor] : weights)
      weights_[name] = tensor.to(at::kDouble, false, true).set_requires_grad(true);
  }

  at::Tensor hidden(const at::Tensor& ids) {
    at::Tensor h = weight("model.embed_tokens").index({ids});
    for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer)
      h = block("model.layers." + std::to_string(layer), h);
    return norm(h, weight("model.norm"));
  }
  const at::Tensor& weight(const std::string& name) const { return weights_.at(name + ".weight"); }
  const io::TensorMap& weights() const { return weights_; }

 private:
  at::Tensor norm(const at::Tensor& x, const at::Tensor& gain) const {
    return x / (x * x).mean(-1, true).add(config_.rms_norm_eps).sqrt() * gain;
  }

  at::Tensor project(const std::string& name, const at::Tensor& x) const {
    const auto bias = weights_.find(name + ".bias");
    const at::Tensor y = at::matmul(x, weight(name).t());
    return bias == weights_.end() ? y : y + bias->second;
  }

  /// Pairs (i, i + E/2) as complex numbers, turned by position * theta^(-2i/E).
  at::Tensor rotate(const at::Tensor& x) const {
    const int64_t length = x.size(0), half = config_.head_dim / 2;
    const at::Tensor frequency =
        at::pow(config_.rope.theta, at::arange(half, at::kDouble) * (-1.0 / static_cast<double>(half)));
    const at::Tensor angle = at::outer(at::arange(length, at::kDouble), frequency).unsqueeze(1);
    const at::Tensor turned =
        at::complex(x.slice(-1, 0, half), x.slice(-1, half)) * at::polar(at::ones_like(angle), angle);
    return at::cat({at::real(turned), at::imag(turned)}, -1);
  }

  at::Tensor block(const std::string& name, const at::Tensor& h) const {
    const std::string attention = name + ".self_attn.", mlp = name + ".mlp.";
    const int64_t length = h.size(0), heads = config_.num_attention_heads, group = heads / config_.num_key_value_heads;
    const at::Tensor x = norm(h, weight(name + ".input_layernorm"));
    at::Tensor q = project(attention + "q_proj", x).view({length, heads, -1});
    at::Tensor k = project(attention + "k_proj", x).view({length, config_.num_key_value_heads, -1});
    const at::Tensor v = project(attention + "v_proj", x).view({length, config_.num_key_value_heads, -1});
    if (config_.model_type == "qwen3") {
      q = norm(q, weight(attention + "q_norm"));
      k = norm(k, weight(attention + "k_norm"));
    }
    q = rotate(q);
    k = rotate(k);
    const at::Tensor mask = at::full({length, length}, -INFINITY, at::kDouble).triu(1);
    std::vector<at::Tensor> outputs;
    for (int64_t head = 0; head < heads; ++head) {
      const at::Tensor keys = k.select(1, head / group), values = v.select(1, head / group);
      const at::Tensor scores =
          at::matmul(q.select(1, head), keys.t()) / std::sqrt(static_cast<double>(config_.head_dim));
      outputs.push_back(at::matmul((scores + mask).softmax(-1), values));
    }
    const at::Tensor middle = h + project(attention + "o_proj", at::cat(outputs, -1));
    const at::Tensor y = norm(middle, weight(name + ".post_attention_layernorm")), gate = project(mlp + "gate_proj", y);
    return middle + project(mlp + "down_proj", gate * gate.sigmoid() * project(mlp + "up_proj", y));
  }

  ModelConfig config_;
  io::TensorMap weights_;
};

}  // namespace rqat::model
