#include <cmath>

#include "composed.h"

namespace rqat::ops::composed {
namespace {

// The keys (or values) a segment sees: its ancestors', then its own, with each key/value head repeated for its query
// heads -> fp32 [H, L, E].
at::Tensor visible(const at::Tensor& x, const std::vector<Segment>& segments, const Segment& segment,
                   int64_t num_heads) {
  std::vector<at::Tensor> runs;
  for (const Segment& run : ancestors(segments, segment)) runs.push_back(x.slice(0, run.begin, run.end));
  runs.push_back(x.slice(0, segment.begin, segment.end));
  return at::cat(runs).transpose(0, 1).to(at::kFloat).repeat_interleave(num_heads / x.size(1), 0);
}

at::Tensor heads_first(const at::Tensor& x, const Segment& segment) {
  return x.slice(0, segment.begin, segment.end).transpose(0, 1).to(at::kFloat);
}

// [H, n, L] scores before the mask.
at::Tensor raw_scores(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options) {
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)).mul_(options.scale);
  return options.softcap > 0 ? scores.div_(options.softcap).tanh_().mul_(options.softcap) : scores;
}

// -inf above the diagonal of the segment's own part, and before the window.
void hide_invisible(at::Tensor& scores, int64_t window) {
  const int64_t rows = scores.size(1), columns = scores.size(2), offset = columns - rows;
  const at::Tensor ones = at::ones({rows, columns}, scores.options().dtype(at::kBool));
  scores.masked_fill_(ones.triu(offset + 1), -INFINITY);
  if (window > 0) scores.masked_fill_(ones.tril(offset - window), -INFINITY);
}

at::Tensor masked_scores(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options) {
  at::Tensor scores = raw_scores(q, k, options);
  hide_invisible(scores, options.window);
  return scores;
}

// Adds the gradient [H, L, E] of a segment's visible keys to fp32 [T, J, E].
void scatter_visible(at::Tensor& target, const at::Tensor& gradient, const std::vector<Segment>& segments,
                     const Segment& segment) {
  const int64_t num_kv_heads = target.size(1), length = gradient.size(1), size = gradient.size(2);
  at::Tensor per_head = gradient.reshape({num_kv_heads, -1, length, size}).sum(1).transpose(0, 1);
  int64_t offset = 0;
  for (const Segment& run : ancestors(segments, segment)) {
    const int64_t count = run.end - run.begin;
    target.slice(0, run.begin, run.end).add_(per_head.slice(0, offset, offset + count));
    offset += count;
  }
  target.slice(0, segment.begin, segment.end).add_(per_head.slice(0, offset, length));
}

}  // namespace

std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                           const NormStyle& style) {
  at::Tensor wide = x.to(at::kFloat);
  at::Tensor rstd = wide.square().mean({-1}, true).add_(eps).rsqrt_();
  at::Tensor normed = wide * rstd;
  if (!style.round_last) normed = normed.to(x.scalar_type()).to(at::kFloat);
  at::Tensor y = normed * (weight.to(at::kFloat) + style.weight_offset);
  return {y.to(x.scalar_type()), rstd.flatten()};
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, at::Tensor& weight_grad, const NormStyle& style) {
  const int64_t size = x.size(-1);
  at::Tensor scale = rstd.unsqueeze(1);
  at::Tensor normed = x.to(at::kFloat).reshape({-1, size}) * scale;
  at::Tensor wide_dy = dy.to(at::kFloat).reshape({-1, size});
  if (weight_grad.defined()) {
    weight_grad.add_((wide_dy * (style.round_last ? normed : normed.to(x.scalar_type()))).sum(0));
  }
  at::Tensor g = wide_dy * (weight.to(at::kFloat) + style.weight_offset);
  at::Tensor dx = (g - normed * (g * normed).mean({-1}, true)) * scale;
  return dx.to(x.scalar_type()).reshape(x.sizes());
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  const int64_t half = x.size(-1) / 2;
  at::Tensor first = x.slice(-1, 0, half).to(at::kFloat), second = x.slice(-1, half).to(at::kFloat);
  at::Tensor c = cos.unsqueeze(1), s = inverse ? -sin.unsqueeze(1) : sin.unsqueeze(1);
  return at::cat({first * c - second * s, second * c + first * s}, -1).to(x.scalar_type());
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  return (at::silu(gate.to(at::kFloat)) * up).to(gate.scalar_type());
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dy, const at::Tensor& gate,
                                                    const at::Tensor& up) {
  at::Tensor wide = gate.to(at::kFloat), wide_dy = dy.to(at::kFloat), sigmoid = at::sigmoid(wide);
  at::Tensor dgate = wide_dy * up * sigmoid * (1 + wide * (1 - sigmoid));
  return {dgate.to(gate.scalar_type()), (wide_dy * wide * sigmoid).to(up.scalar_type())};
}

std::pair<at::Tensor, at::Tensor> segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options) {
  const int64_t num_heads = q.size(1);
  at::Tensor out = at::zeros(q.sizes(), q.options());
  at::Tensor logsumexp = at::zeros({q.size(0), num_heads}, q.options().dtype(at::kFloat));
  for (const Segment& segment : segments) {
    if (segment.begin == segment.end) continue;
    at::Tensor scores = masked_scores(heads_first(q, segment), visible(k, segments, segment, num_heads), options);
    at::Tensor lse = scores.logsumexp({-1}, true);
    at::Tensor mixed = at::matmul(scores.sub_(lse).exp_(), visible(v, segments, segment, num_heads));
    out.slice(0, segment.begin, segment.end).copy_(mixed.transpose(0, 1));
    logsumexp.slice(0, segment.begin, segment.end).copy_(lse.squeeze(-1).transpose(0, 1));
  }
  return {out, logsumexp};
}

AttentionGradients segment_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                              const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                                              const std::vector<Segment>& segments, const AttentionOptions& options) {
  const int64_t num_heads = q.size(1);
  at::Tensor dq = at::zeros(q.sizes(), q.options());
  at::Tensor dk = at::zeros(k.sizes(), k.options().dtype(at::kFloat)), dv = at::zeros_like(dk);
  for (const Segment& segment : segments) {
    if (segment.begin == segment.end) continue;
    at::Tensor q_s = heads_first(q, segment), dout_s = heads_first(dout, segment);
    at::Tensor k_s = visible(k, segments, segment, num_heads), v_s = visible(v, segments, segment, num_heads);
    at::Tensor lse = logsumexp.slice(0, segment.begin, segment.end).transpose(0, 1).unsqueeze(-1);
    at::Tensor scores = raw_scores(q_s, k_s, options);
    at::Tensor slope;  // of the cap
    if (options.softcap > 0) slope = 1 - (scores / options.softcap).square_();
    hide_invisible(scores, options.window);
    at::Tensor p = scores.sub_(lse).exp_();
    at::Tensor delta = (dout_s * heads_first(out, segment)).sum(-1, true);
    at::Tensor ds = at::matmul(dout_s, v_s.transpose(1, 2)).sub_(delta).mul_(p).mul_(options.scale);
    if (slope.defined()) ds.mul_(slope);
    dq.slice(0, segment.begin, segment.end).copy_(at::matmul(ds, k_s).transpose(0, 1));
    scatter_visible(dk, at::matmul(ds.transpose(1, 2), q_s), segments, segment);
    scatter_visible(dv, at::matmul(p.transpose(1, 2), dout_s), segments, segment);
  }
  return {dq, dk.to(k.scalar_type()), dv.to(v.scalar_type())};
}

at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            const AttentionOptions& options) {
  const int64_t rows = q.size(0), num_heads = q.size(1), num_kv_heads = k_cache.size(1), size = q.size(2);
  int64_t longest = 0;
  for (int64_t length : lengths) longest = std::max(longest, length);
  const at::TensorOptions index = at::TensorOptions().dtype(at::kLong);
  at::Tensor slot_index = at::tensor(slots, index).to(q.device());
  at::Tensor length_column = at::tensor(lengths, index).to(q.device()).view({rows, 1});
  const at::Tensor position = at::arange(longest, index.device(q.device())).unsqueeze(0);
  at::Tensor hidden = position >= length_column;
  if (options.window > 0) hidden = hidden.logical_or(position < length_column - options.window);
  at::Tensor k = k_cache.slice(2, 0, longest).index_select(0, slot_index).to(at::kFloat);
  at::Tensor v = v_cache.slice(2, 0, longest).index_select(0, slot_index).to(at::kFloat);
  // What lies behind a row's length is uninitialized and might be NaN, which 0 * NaN would spread.
  v.masked_fill_(hidden.view({rows, 1, longest, 1}), 0);
  at::Tensor grouped = q.to(at::kFloat).reshape({rows, num_kv_heads, num_heads / num_kv_heads, size});
  at::Tensor scores = at::matmul(grouped, k.transpose(2, 3)).mul_(options.scale);
  if (options.softcap > 0) scores.div_(options.softcap).tanh_().mul_(options.softcap);
  scores.masked_fill_(hidden.view({rows, 1, 1, longest}), -INFINITY);
  return at::matmul(scores.softmax(-1), v).reshape(q.sizes()).to(q.scalar_type());
}

}  // namespace rqat::ops::composed
