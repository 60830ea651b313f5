#include "rqat/nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rqat/base/error.h"

namespace rqat::nn {
namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kHeadDim = 8;

/// The last n rows of plain causal attention over one whole sequence.
at::Tensor last_rows(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t n) {
  const int64_t length = q.size(0);
  const at::Tensor keys = k.repeat_interleave(kHeads / kKvHeads, 1), values = v.repeat_interleave(kHeads / kKvHeads, 1);
  at::Tensor scores = at::einsum("the,she->hts", {q, keys}) / std::sqrt(static_cast<double>(kHeadDim));
  scores = scores + at::full({length, length}, -INFINITY).triu(1);
  return at::einsum("hts,she->the", {scores.softmax(-1), values}).slice(0, length - n);
}

struct Sequence {
  at::Tensor q, k, v;
};

/// Feeds sequences in the given pieces; piece sizes[step][i] of sequence i (0 = none) and compares every output.
void run_pieces(const std::vector<std::vector<int64_t>>& sizes, const std::vector<int64_t>& slots) {
  at::manual_seed(6);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < slots.size(); ++i) {
    sequences.push_back({at::randn({400, kHeads, kHeadDim}), at::randn({400, kKvHeads, kHeadDim}),
                         at::randn({400, kKvHeads, kHeadDim})});
  }
  KvCache cache(2, 5, 400, kKvHeads, kHeadDim, at::kFloat, at::kCPU);
  for (const auto& step : sizes) {
    std::vector<at::Tensor> q, k, v;
    std::vector<Segment> segments;
    std::vector<int64_t> used;
    int64_t total = 0;
    for (size_t i = 0; i < step.size(); ++i) {
      if (step[i] == 0) continue;
      const int64_t past = cache.length(slots[i]);
      for (auto [list, all] : {std::pair{&q, sequences[i].q}, {&k, sequences[i].k}, {&v, sequences[i].v}}) {
        list->push_back(all.slice(0, past, past + step[i]));
      }
      segments.push_back({total, total + step[i], -1});
      used.push_back(slots[i]);
      total += step[i];
    }
    const at::Tensor out = cached_attention(at::cat(q), at::cat(k), at::cat(v), segments, cache, 1, used);
    size_t segment = 0;
    for (size_t i = 0; i < step.size(); ++i) {
      if (step[i] == 0) continue;
      const int64_t length = cache.length(slots[i]) + step[i];
      const Sequence& s = sequences[i];
      const at::Tensor expected =
          last_rows(s.q.slice(0, 0, length), s.k.slice(0, 0, length), s.v.slice(0, 0, length), step[i]);
      const at::Tensor got = out.slice(0, segments[segment].begin, segments[segment].end);
      EXPECT_LT((got - expected).abs().max().item<double>(), 1e-5) << "sequence " << i << " length " << length;
      cache.set_length(slots[i], length);
      ++segment;
    }
  }
}

TEST(CachedAttention, PrefillThenDecode) { run_pieces({{7, 3, 1}, {1, 1, 1}, {1, 0, 1}, {0, 1, 0}}, {4, 0, 2}); }
TEST(CachedAttention, AppendsAndMixtures) { run_pieces({{7, 0, 2}, {3, 5, 1}, {1, 1, 4}, {2, 2, 2}}, {1, 3, 0}); }
TEST(CachedAttention, LongAppendGoesInPieces) { run_pieces({{20}, {300}, {1}}, {2}); }

TEST(KvCache, CopiesSlotsOfAllLayers) {
  at::manual_seed(7);
  KvCache cache(2, 3, 6, kKvHeads, kHeadDim, at::kFloat, at::kCPU);
  EXPECT_EQ(cache.bytes(), 2 * 2 * 3 * 6 * kKvHeads * kHeadDim * 4);
  for (int64_t layer = 0; layer < 2; ++layer) {
    cache.write(layer, 1, at::randn({4, kKvHeads, kHeadDim}), at::randn({4, kKvHeads, kHeadDim}));
  }
  cache.set_length(1, 4);
  cache.copy_slot(1, 2);
  EXPECT_EQ(cache.length(2), 4);
  for (int64_t layer = 0; layer < 2; ++layer) {
    EXPECT_TRUE(cache.keys(layer)[1].slice(1, 0, 4).equal(cache.keys(layer)[2].slice(1, 0, 4)));
    EXPECT_TRUE(cache.values(layer)[1].slice(1, 0, 4).equal(cache.values(layer)[2].slice(1, 0, 4)));
  }
}

TEST(KvCache, WriteLaysTokensBehindTheLength) {
  KvCache cache(1, 2, 6, kKvHeads, kHeadDim, at::kBFloat16, at::kCPU);
  const at::Tensor k = at::randn({2, kKvHeads, kHeadDim}, at::kBFloat16),
                   v = at::randn({2, kKvHeads, kHeadDim}, at::kBFloat16);
  cache.set_length(1, 3);
  cache.write(0, 1, k, v);
  EXPECT_TRUE(cache.keys(0)[1].slice(1, 3, 5).equal(k.transpose(0, 1)));
  EXPECT_TRUE(cache.values(0)[1].slice(1, 3, 5).equal(v.transpose(0, 1)));
}

TEST(KvCache, RefusesWhatDoesNotFit) {
  KvCache cache(1, 2, 6, kKvHeads, kHeadDim, at::kFloat, at::kCPU);
  const at::Tensor three = at::zeros({3, kKvHeads, kHeadDim});
  cache.set_length(0, 4);
  EXPECT_THROW(cache.write(0, 0, three, three), base::DataError);
  EXPECT_THROW(cache.write(0, 2, three, three), base::DataError);
  EXPECT_THROW(cache.copy_slot(0, 5), base::DataError);
}

}  // namespace
}  // namespace rqat::nn
