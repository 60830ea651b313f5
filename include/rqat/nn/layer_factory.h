// How a model family gets its parts without knowing about quantisation: it asks for each by name.
#pragma once

#include <memory>
#include <string>

#include "rqat/nn/linear.h"

namespace rqat::nn {

/// A function of activations at a named point of a block; activation quantisers and online rotations implement it:
///   "attention_input" [T, D] of q, k, v;  "query" [T, H, E] and "key" [T, J, E] after rope;  "output_input" [T, H * E]
///   of o; "mlp_input" [T, D] of gate and up;  "down_input" [T, intermediate].
class ActivationTransform {
 public:
  virtual ~ActivationTransform() = default;
  virtual at::Tensor apply(const at::Tensor& x) = 0;  ///< same shape; differentiable
};

class LayerFactory {
 public:
  virtual ~LayerFactory() = default;
  virtual std::unique_ptr<LinearBase> linear(const LinearSpec& spec) = 0;
  /// nullptr = identity, the default. `point` = "model.layers.3.mlp_input".
  virtual std::shared_ptr<ActivationTransform> activation(const std::string& point) {
    (void)point;
    return nullptr;
  }
};

class FloatLayerFactory : public LayerFactory {
 public:
  std::unique_ptr<LinearBase> linear(const LinearSpec& spec) override { return std::make_unique<FloatLinear>(spec); }
};

}  // namespace rqat::nn
