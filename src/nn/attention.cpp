#include "rqat/nn/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "rqat/ops/transformer.h"

namespace rqat::nn {
namespace {

constexpr int64_t kQueryRows = 256;     // bounds the scores [H, rows, L] of a long segment
constexpr int64_t kShortContext = 512;  // up to here tokens behind a cached prefix are taken one by one, like new ones

/// q [n, H, E] against the first `past` + n positions of keys, values [J, capacity, E]; query i sees past + i + 1 of
/// them, with a window the last of those.
at::Tensor append_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, int64_t past,
                            const ops::AttentionOptions& options) {
  const int64_t n = q.size(0), heads = q.size(1), head_dim = q.size(2), kv_heads = keys.size(0), total = past + n;
  const at::Tensor k = keys.narrow(1, 0, total).to(at::kFloat), v = values.narrow(1, 0, total).to(at::kFloat);
  const at::Tensor columns = at::arange(total, q.options().dtype(at::kLong));
  const double scale = options.scale > 0 ? options.scale : 1 / std::sqrt(static_cast<double>(head_dim));
  at::Tensor out = at::empty_like(q);
  for (int64_t begin = 0; begin < n; begin += kQueryRows) {
    const int64_t rows = std::min(kQueryRows, n - begin);
    // [rows, J, G, E] -> [J, G * rows, E]: the query heads of one key/value head lie together.
    const at::Tensor grouped = q.narrow(0, begin, rows)
                                   .to(at::kFloat)
                                   .view({rows, kv_heads, heads / kv_heads, head_dim})
                                   .permute({1, 2, 0, 3})
                                   .reshape({kv_heads, -1, head_dim});
    at::Tensor scores = at::bmm(grouped, k.transpose(1, 2)).mul_(scale);
    if (options.softcap > 0) scores.div_(options.softcap).tanh_().mul_(options.softcap);
    const at::Tensor last_seen = at::arange(past + begin, past + begin + rows, columns.options());
    at::Tensor hidden = columns.unsqueeze(0) > last_seen.unsqueeze(1);
    if (options.window > 0) hidden.logical_or_(columns.unsqueeze(0) <= last_seen.unsqueeze(1) - options.window);
    scores = scores.view({heads, rows, total}).masked_fill_(hidden, -INFINITY).softmax(-1);
    const at::Tensor mixed = at::bmm(scores.view({kv_heads, -1, total}), v).view({heads, rows, head_dim});
    out.narrow(0, begin, rows).copy_(mixed.transpose(0, 1));
  }
  return out;
}

/// Segments by the way they are computed.
struct Kinds {
  std::vector<Segment> fresh;           ///< nothing cached before them
  std::vector<int64_t> long_ones;       ///< indices of segments that follow a long past
  std::vector<int64_t> rows;            ///< every other token: one row each,
  std::vector<int64_t> slots, lengths;  ///< with the slot it reads and how much of it
};

Kinds kinds_of(const std::vector<Segment>& segments, const KvCache& cache, const std::vector<int64_t>& slots) {
  Kinds kinds;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const int64_t tokens = segment.end - segment.begin, past = cache.length(slots[i]);
    if (tokens > 1 && past == 0) {
      kinds.fresh.push_back(segment);
    } else if (tokens > 1 && past + tokens > kShortContext) {
      kinds.long_ones.push_back(static_cast<int64_t>(i));
    } else {
      for (int64_t t = 0; t < tokens; ++t) {
        kinds.rows.push_back(segment.begin + t);
        kinds.slots.push_back(slots[i]);
        kinds.lengths.push_back(past + t + 1);
      }
    }
  }
  return kinds;
}

}  // namespace

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<Segment>& segments, KvCache& cache, int64_t layer,
                            const std::vector<int64_t>& slots, const ops::AttentionOptions& options) {
  const at::NoGradGuard no_grad;
  cache.write(layer, slots, segments, k, v);
  const Kinds kinds = kinds_of(segments, cache, slots);
  const auto by_rows = [&](const at::Tensor& rows_q) {
    return ops::decode_attention(rows_q, cache.keys(layer), cache.values(layer), kinds.slots, kinds.lengths, options);
  };
  if (static_cast<int64_t>(kinds.rows.size()) == q.size(0)) return by_rows(q);

  at::Tensor out =
      kinds.fresh.empty() ? at::empty_like(q) : ops::segment_attention(q, k, v, kinds.fresh, options).first;
  if (!kinds.rows.empty()) {
    const at::Tensor rows = at::tensor(kinds.rows, at::kLong).to(q.device());
    out.index_copy_(0, rows, by_rows(q.index_select(0, rows)));
  }
  for (const int64_t i : kinds.long_ones) {
    const auto [begin, end, parent] = segments[static_cast<size_t>(i)];
    const int64_t slot = slots[static_cast<size_t>(i)];
    out.slice(0, begin, end)
        .copy_(append_attention(q.slice(0, begin, end), cache.keys(layer).select(0, slot),
                                cache.values(layer).select(0, slot), cache.length(slot), options));
  }
  return out;
}

}  // namespace rqat::nn
