#include "rqat/ops/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "composed.h"
#include "cpu/dense.h"

namespace rqat::ops {
namespace {

void check_dtype(const char* op, const char* name, const at::Tensor& x) {
  TORCH_CHECK_VALUE(x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat, "[", op, "] expected ", name,
                    " of bfloat16 or float32, got ", x.scalar_type());
}

void check_like(const char* op, const char* name, const at::Tensor& x, const char* model_name,
                const at::Tensor& model) {
  TORCH_CHECK_VALUE(
      x.sizes() == model.sizes() && x.scalar_type() == model.scalar_type() && x.device() == model.device(), "[", op,
      "] expected ", name, " like ", model_name, " (", model.scalar_type(), " ", model.sizes(), " on ", model.device(),
      "), got ", x.scalar_type(), " ", x.sizes(), " on ", x.device());
}

void check_norm(const char* op, const at::Tensor& x, const at::Tensor& weight) {
  check_dtype(op, "x", x);
  TORCH_CHECK_VALUE(
      x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1) && weight.scalar_type() == x.scalar_type(), "[",
      op, "] expected weight ", x.scalar_type(), " [", x.dim() >= 1 ? x.size(-1) : 0, "], got ", weight.scalar_type(),
      " ", weight.sizes());
}

void check_attention(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const std::vector<Segment>& segments) {
  check_dtype(op, "q", q);
  TORCH_CHECK_VALUE(q.dim() == 3 && k.dim() == 3 && k.size(0) == q.size(0) && k.size(2) == q.size(2) && k.size(1) > 0 &&
                        q.size(1) % k.size(1) == 0 && k.scalar_type() == q.scalar_type(),
                    "[", op, "] expected q [T, H, E] and k [T, J, E] of one dtype with H a multiple of J, got ",
                    q.sizes(), " and ", k.sizes());
  check_like(op, "v", v, "k", k);
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    TORCH_CHECK_VALUE(0 <= segment.begin && segment.begin <= segment.end && segment.end <= q.size(0), "[", op,
                      "] expected segment ", i, " within 0..", q.size(0), ", got ", segment.begin, "..", segment.end);
    TORCH_CHECK_VALUE(i == 0 || segments[i - 1].end <= segment.begin, "[", op, "] expected segment ", i,
                      " to begin after segment ", i - 1, " ends, got ", segment.begin, " before ",
                      i == 0 ? 0 : segments[i - 1].end);
    TORCH_CHECK_VALUE(segment.parent < static_cast<int64_t>(i), "[", op, "] expected the parent of segment ", i,
                      " to be an earlier segment, got ", segment.parent);
  }
}

// The blocked kernels where they apply, else null: the composition takes every other case.
const cpu::DenseKernels* blocked_attention(std::initializer_list<at::Tensor> tensors, const at::Tensor& q) {
  const bool fits = q.scalar_type() == at::kBFloat16 && q.size(2) % 32 == 0 && q.size(2) > 0 && q.numel() > 0;
  return fits && has_bf16_brgemm() ? cpu::dense_kernels_for(tensors) : nullptr;
}

double scale_or_default(double scale, const at::Tensor& q) {
  return scale > 0 ? scale : 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
}

AttentionOptions resolved(const char* op, const AttentionOptions& options, const at::Tensor& q) {
  TORCH_CHECK_VALUE(options.softcap >= 0 && options.window >= 0, "[", op, "] expected softcap and window >= 0, got ",
                    options.softcap, " and ", options.window);
  return {scale_or_default(options.scale, q), options.softcap, options.window};
}

}  // namespace

std::vector<Segment> ancestors(const std::vector<Segment>& segments, const Segment& segment) {
  std::vector<Segment> path;
  for (int64_t i = segment.parent; i >= 0; i = segments[static_cast<size_t>(i)].parent)
    path.push_back(segments[static_cast<size_t>(i)]);
  std::reverse(path.begin(), path.end());
  return path;
}

std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                           const NormStyle& style) {
  check_norm("rms_norm", x, weight);
  if (const auto* kernels = cpu::dense_kernels_for({x, weight})) return cpu::rms_norm(*kernels, x, weight, eps, style);
  return composed::rms_norm(x, weight, eps, style);
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, at::Tensor& weight_grad, const NormStyle& style) {
  check_norm("rms_norm_backward", x, weight);
  check_like("rms_norm_backward", "dy", dy, "x", x);
  TORCH_CHECK_VALUE(rstd.scalar_type() == at::kFloat && rstd.numel() * x.size(-1) == x.numel(),
                    "[rms_norm_backward] expected rstd float32 with one value per row of x ", x.sizes(), ", got ",
                    rstd.scalar_type(), " ", rstd.sizes());
  TORCH_CHECK_VALUE(
      !weight_grad.defined() || (weight_grad.scalar_type() == at::kFloat && weight_grad.sizes() == weight.sizes()),
      "[rms_norm_backward] expected weight_grad float32 ", weight.sizes(), ", got ", weight_grad.scalar_type(), " ",
      weight_grad.sizes());
  if (const auto* kernels = cpu::dense_kernels_for({dy, x, weight, rstd}))
    return cpu::rms_norm_backward(*kernels, dy, x, weight, rstd, weight_grad, style);
  return composed::rms_norm_backward(dy, x, weight, rstd, weight_grad, style);
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  check_dtype("rope", "x", x);
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(2) % 2 == 0, "[rope] expected x [T, heads, E] with even E, got ", x.sizes());
  for (const at::Tensor& table : {cos, sin}) {
    TORCH_CHECK_VALUE(table.scalar_type() == at::kFloat && table.dim() == 2 && table.size(0) == x.size(0) &&
                          table.size(1) * 2 == x.size(2),
                      "[rope] expected cos and sin float32 [", x.size(0), ", ", x.size(2) / 2, "], got ",
                      table.scalar_type(), " ", table.sizes());
  }
  if (const auto* kernels = cpu::dense_kernels_for({x, cos, sin})) return cpu::rope(*kernels, x, cos, sin, inverse);
  return composed::rope(x, cos, sin, inverse);
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  check_dtype("silu_mul", "gate", gate);
  check_like("silu_mul", "up", up, "gate", gate);
  if (const auto* kernels = cpu::dense_kernels_for({gate, up})) return cpu::silu_mul(*kernels, gate, up);
  return composed::silu_mul(gate, up);
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dy, const at::Tensor& gate,
                                                    const at::Tensor& up) {
  check_dtype("silu_mul_backward", "gate", gate);
  check_like("silu_mul_backward", "up", up, "gate", gate);
  check_like("silu_mul_backward", "dy", dy, "gate", gate);
  if (const auto* kernels = cpu::dense_kernels_for({dy, gate, up}))
    return cpu::silu_mul_backward(*kernels, dy, gate, up);
  return composed::silu_mul_backward(dy, gate, up);
}

std::pair<at::Tensor, at::Tensor> segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options) {
  check_attention("segment_attention", q, k, v, segments);
  const AttentionOptions chosen = resolved("segment_attention", options, q);
  if (const cpu::DenseKernels* kernels = blocked_attention({q, k, v}, q))
    return cpu::segment_attention(*kernels, q, k, v, segments, chosen);
  return composed::segment_attention(q, k, v, segments, chosen);
}

AttentionGradients segment_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                              const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                                              const std::vector<Segment>& segments, const AttentionOptions& options) {
  check_attention("segment_attention_backward", q, k, v, segments);
  check_like("segment_attention_backward", "dout", dout, "q", q);
  check_like("segment_attention_backward", "out", out, "q", q);
  TORCH_CHECK_VALUE(logsumexp.scalar_type() == at::kFloat && logsumexp.dim() == 2 && logsumexp.size(0) == q.size(0) &&
                        logsumexp.size(1) == q.size(1),
                    "[segment_attention_backward] expected logsumexp float32 [", q.size(0), ", ", q.size(1), "], got ",
                    logsumexp.scalar_type(), " ", logsumexp.sizes());
  const AttentionOptions chosen = resolved("segment_attention_backward", options, q);
  if (const cpu::DenseKernels* kernels = blocked_attention({dout, q, k, v, out, logsumexp}, q))
    return cpu::segment_attention_backward(*kernels, dout, q, k, v, out, logsumexp, segments, chosen);
  return composed::segment_attention_backward(dout, q, k, v, out, logsumexp, segments, chosen);
}

at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            const AttentionOptions& options) {
  check_dtype("decode_attention", "q", q);
  TORCH_CHECK_VALUE(
      q.dim() == 3 && k_cache.dim() == 4 && k_cache.size(1) > 0 && q.size(1) % k_cache.size(1) == 0 &&
          q.size(2) == k_cache.size(3) && q.scalar_type() == k_cache.scalar_type(),
      "[decode_attention] expected q [S, H, E] and k_cache [slots, J, capacity, E] of one dtype with H a ",
      "multiple of J, got ", q.sizes(), " and ", k_cache.sizes());
  check_like("decode_attention", "v_cache", v_cache, "k_cache", k_cache);
  const auto rows = static_cast<size_t>(q.size(0));
  TORCH_CHECK_VALUE(slots.size() == rows && lengths.size() == rows, "[decode_attention] expected ", rows,
                    " slots and lengths, got ", slots.size(), " and ", lengths.size());
  for (size_t i = 0; i < rows; ++i) {
    TORCH_CHECK_VALUE(0 <= slots[i] && slots[i] < k_cache.size(0) && 1 <= lengths[i] && lengths[i] <= k_cache.size(2),
                      "[decode_attention] expected slot in 0..", k_cache.size(0) - 1, " and length in 1..",
                      k_cache.size(2), " of row ", i, ", got ", slots[i], " and ", lengths[i]);
  }
  if (rows == 0) return at::empty_like(q);
  const AttentionOptions chosen = resolved("decode_attention", options, q);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({q, k_cache, v_cache});
  if (kernels == nullptr || q.size(2) % 16 != 0 || q.size(2) > 1024)
    return composed::decode_attention(q, k_cache, v_cache, slots, lengths, chosen);
  return cpu::decode_attention(*kernels, q, k_cache, v_cache, slots, lengths, chosen);
}

}  // namespace rqat::ops
