#include "rqat/nn/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "rqat/ops/transformer.h"

namespace rqat::nn {
namespace {

constexpr int64_t kQueryRows = 256;  // bounds the scores [H, rows, L] of a long segment

/// q [n, H, E] against the first `past` + n positions of keys, values [J, capacity, E]; query i sees past + i + 1 of
/// them.
at::Tensor append_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, int64_t past) {
  const int64_t n = q.size(0), heads = q.size(1), head_dim = q.size(2), kv_heads = keys.size(0), total = past + n;
  const at::Tensor k = keys.narrow(1, 0, total).to(at::kFloat), v = values.narrow(1, 0, total).to(at::kFloat);
  const at::Tensor columns = at::arange(total, q.options().dtype(at::kLong));
  at::Tensor out = at::empty_like(q);
  for (int64_t begin = 0; begin < n; begin += kQueryRows) {
    const int64_t rows = std::min(kQueryRows, n - begin);
    // [rows, J, G, E] -> [J, G * rows, E]: the query heads of one key/value head lie together.
    const at::Tensor grouped = q.narrow(0, begin, rows)
                                   .to(at::kFloat)
                                   .view({rows, kv_heads, heads / kv_heads, head_dim})
                                   .permute({1, 2, 0, 3})
                                   .reshape({kv_heads, -1, head_dim});
    at::Tensor scores = at::bmm(grouped, k.transpose(1, 2)).div_(std::sqrt(static_cast<double>(head_dim)));
    const at::Tensor last_seen = at::arange(past + begin, past + begin + rows, columns.options());
    const at::Tensor hidden = columns.unsqueeze(0) > last_seen.unsqueeze(1);
    scores = scores.view({heads, rows, total}).masked_fill_(hidden, -INFINITY).softmax(-1);
    const at::Tensor mixed = at::bmm(scores.view({kv_heads, -1, total}), v).view({heads, rows, head_dim});
    out.narrow(0, begin, rows).copy_(mixed.transpose(0, 1));
  }
  return out;
}

}  // namespace

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<Segment>& segments, KvCache& cache, int64_t layer,
                            const std::vector<int64_t>& slots) {
  const at::NoGradGuard no_grad;
  cache.write(layer, slots, segments, k, v);
  const bool decoding =
      std::all_of(segments.begin(), segments.end(), [](const Segment& s) { return s.end - s.begin == 1; });
  if (decoding) {
    std::vector<int64_t> lengths;
    for (const int64_t slot : slots) lengths.push_back(cache.length(slot) + 1);
    return ops::decode_attention(q, cache.keys(layer), cache.values(layer), slots, lengths);
  }
  const bool all_empty = std::all_of(slots.begin(), slots.end(), [&](int64_t slot) { return cache.length(slot) == 0; });
  if (all_empty) return ops::segment_attention(q, k, v, segments).first;

  at::Tensor out = at::empty_like(q);
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto [begin, end, parent] = segments[i];
    out.slice(0, begin, end)
        .copy_(append_attention(q.slice(0, begin, end), cache.keys(layer).select(0, slots[i]),
                                cache.values(layer).select(0, slots[i]), cache.length(slots[i])));
  }
  return out;
}

}  // namespace rqat::nn
