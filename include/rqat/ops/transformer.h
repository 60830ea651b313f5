// The pointwise and attention parts of a decoder block as raw forward/backward pairs; nn wraps them for autograd.
// T tokens of all segments of a batch, concatenated; D hidden; H query heads, J key/value heads, E head dim; dtype
// bfloat16 or float32, statistics and accumulations in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace rqat::ops {

/// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension; fp32 inside, rounded to x's dtype before the product
/// with weight as transformers does. Returns (y, rstd fp32 [rows]).
std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// Returns dx; adds dweight (fp32) into `weight_grad` when defined.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, at::Tensor& weight_grad);

/// Rotary embedding, halves convention (HF): x [T, heads, E], cos/sin fp32 [T, E/2]. Returns a new tensor.
/// The backward is the same call with `inverse`.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse = false);

/// silu(gate) * up.
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);
/// (dgate, dup).
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up);

/// A run of tokens that attends to itself (causally) and, when parent >= 0, to the whole segment `parent` and whatever
/// that one sees: a prompt shared by several responses, or a system prompt shared by several prompts, is computed once.
struct Segment {
  int64_t begin = 0, end = 0;
  int64_t parent = -1;  ///< index of an earlier segment
};

/// The segments that `segment` sees whole, the outermost first.
std::vector<Segment> ancestors(const std::vector<Segment>& segments, const Segment& segment);

/// Causal attention within segments. q [T, H, E], k, v [T, J, E] -> out [T, H, E] and logsumexp fp32 [T, H].
/// Softmax scale 1/sqrt(E) unless given (> 0).
std::pair<at::Tensor, at::Tensor> segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments, double scale = 0);
struct AttentionGradients {
  at::Tensor q, k, v;
};
AttentionGradients segment_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                              const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                                              const std::vector<Segment>& segments, double scale = 0);

/// One new token per slot against its cache. q [S, H, E]; k_cache, v_cache [slots, J, capacity, E]; row i attends to
/// positions 0..lengths[i]-1 of slot slots[i] -> [S, H, E].
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale = 0);

}  // namespace rqat::ops
