// The pointwise and attention parts of a decoder block as raw forward/backward pairs; nn wraps them for autograd.
// T tokens of all segments of a batch, concatenated; D hidden; H query heads, J key/value heads, E head dim; dtype
// bfloat16 or float32, statistics and accumulations in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace rqat::ops {

/// In what the RMSNorms of model families differ.
struct NormStyle {
  double weight_offset = 0;  ///< added to the weight: 1 where checkpoints hold weight - 1
  bool round_last = false;   ///< round to x's dtype after the product with weight instead of before it
};

/// y = x / sqrt(mean(x^2) + eps) * (weight + weight_offset) over the last dimension; fp32 inside, rounded to x's dtype
/// where `style` says, as transformers does. Returns (y, rstd fp32 [rows]).
std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                           const NormStyle& style = {});
/// Returns dx; adds dweight (fp32) into `weight_grad` when defined.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, at::Tensor& weight_grad, const NormStyle& style = {});

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

/// score = scale * q.k; with a cap: cap * tanh(scale * q.k / cap), which keeps scores within +-cap.
struct AttentionOptions {
  double scale = 0;    ///< 0 = 1/sqrt(E)
  double softcap = 0;  ///< 0 = none
  int64_t window = 0;  ///< keys a query sees, its own the last of them; 0 = all before it
};

/// Causal attention within segments. q [T, H, E], k, v [T, J, E] -> out [T, H, E] and logsumexp fp32 [T, H].
std::pair<at::Tensor, at::Tensor> segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options = {});
struct AttentionGradients {
  at::Tensor q, k, v;
};
AttentionGradients segment_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                              const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                                              const std::vector<Segment>& segments,
                                              const AttentionOptions& options = {});

/// One new token per slot against its cache. q [S, H, E]; k_cache, v_cache [slots, J, capacity, E]; row i attends to
/// positions 0..lengths[i]-1 of slot slots[i], with a window the last of them -> [S, H, E].
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            const AttentionOptions& options = {});

}  // namespace rqat::ops
