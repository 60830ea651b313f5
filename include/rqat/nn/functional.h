// The differentiable parts of a decoder block. Autograd follows activations only: where a function has a weight, its
// backward adds dL/dweight in fp32 straight into the buffer that the caller names, so that gradients of micro-batches
// accumulate without rounding and no weight is ever a leaf of the graph.
//
// A graph is recorded when grad mode is on and an activation that comes in requires grad; otherwise nothing is saved.
// T tokens, H query heads, J key/value heads, E head dim; activations bfloat16 or float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "rqat/nn/parameter.h"
#include "rqat/ops/transformer.h"

namespace rqat::nn {

/// Called once in a backward: the fp32 buffer to add a weight gradient to. Undefined, or an empty function = not
/// wanted. Whatever it refers to must outlive the graph.
using GradientBuffer = std::function<at::Tensor()>;

/// The parameter's own buffer; not wanted while it is frozen.
GradientBuffer gradient_of(Parameter& parameter);

/// x [..., K] weight [N, K] (+ bias [N], may be undefined) -> [..., N]. dW = dy^T x, db = sum of dy over rows. An x
/// that came out of rms_norm or silu_mul is not kept for that: the backward makes it again.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, GradientBuffer weight_gradient,
                  GradientBuffer bias_gradient);

/// RMSNorm (1910.07467) over the last dimension: x / sqrt(mean(x^2) + eps) * weight, see ops::NormStyle.
at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps, const ops::NormStyle& style = {});

/// Rotary embedding (2104.09864), halves convention: x [T, heads, E], cos and sin fp32 [T, R/2] with R <= E; elements
/// from R on stay as they are.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// silu(gate) * up (2002.05202).
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

enum class GatedActivation {
  kSilu,
  kGeluTanh,  ///< 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
};
/// activation(gate) * up.
at::Tensor gated(GatedActivation activation, const at::Tensor& gate, const at::Tensor& up);

/// Causal attention within segments, see ops::segment_attention. q [T, H, E], k, v [T, J, E] -> [T, H, E].
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<ops::Segment>& segments, const ops::AttentionOptions& options = {});

/// Rows `ids` int64 [T] of `table` [V, D] -> [T, D]. In grad mode the result requires grad even when the table is
/// frozen: here the graph of a model starts. Throws DataError when an id lies outside the table (checked on CPU).
at::Tensor embedding(const at::Tensor& ids, Parameter& table);

}  // namespace rqat::nn
