#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "rqat/base/error.h"
#include "rqat/base/rng.h"
#include "rqat/data/dataset.h"

namespace rqat::data {
namespace {

std::vector<int64_t> draw(Sampler& sampler, int64_t count) {
  std::vector<int64_t> drawn;
  for (int64_t i = 0; i < count; ++i) drawn.push_back(sampler.next());
  return drawn;
}

std::vector<int64_t> counting(int64_t size) {
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(Sampler, EachEpochShowsEachExampleOnceInAnotherOrder) {
  Sampler sampler(50, 3);
  std::vector<std::vector<int64_t>> epochs{draw(sampler, 50), draw(sampler, 50), draw(sampler, 50)};
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_NE(epochs[0], counting(50));
  for (std::vector<int64_t>& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    EXPECT_EQ(epoch, counting(50));
  }
}

TEST(Sampler, OrderDependsOnTheSeedAlone) {
  Sampler a(20, 1), b(20, 1), c(20, 2);
  const std::vector<int64_t> first = draw(a, 45);
  EXPECT_EQ(first, draw(b, 45));
  EXPECT_NE(first, draw(c, 45));
}

TEST(Sampler, ContinuesFromItsCursor) {
  Sampler whole(7, 5), resumed(7, 5);
  draw(whole, 16);
  resumed.set_cursor(whole.cursor());
  EXPECT_EQ(resumed.cursor(), 16);
  EXPECT_EQ(draw(resumed, 20), draw(whole, 20));
  resumed.set_cursor(0);
  Sampler fresh(7, 5);
  EXPECT_EQ(draw(resumed, 9), draw(fresh, 9));
}

TEST(Sampler, WithoutShufflingInOrder) {
  Sampler sampler(3, 1, false);
  EXPECT_EQ(draw(sampler, 7), (std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0}));
}

TEST(Sampler, EmptyDataSetIsAFault) {
  EXPECT_THROW(Sampler(0, 1), base::DataError);
  EXPECT_THROW(Sampler(-1, 1), base::DataError);
}

TEST(Packing, KeepsOrderAndLimit) {
  using Batches = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(pack_micro_batches({3, 4, 3, 5, 5}, 10), (Batches{{0, 1, 2}, {3, 4}}));
  EXPECT_EQ(pack_micro_batches({3, 4, 4}, 10), (Batches{{0, 1}, {2}}));
  EXPECT_EQ(pack_micro_batches({3, 4, 4}, 0), (Batches{{0, 1, 2}})) << "0 = one micro-batch";
  EXPECT_EQ(pack_micro_batches({30, 4, 40}, 10), (Batches{{0}, {1}, {2}})) << "a longer example stands alone";
  EXPECT_TRUE(pack_micro_batches({}, 10).empty());
  EXPECT_TRUE(pack_micro_batches({}, 0).empty());
}

TEST(Packing, GoesByLengthWhereThatMakesFewer) {
  using Batches = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(pack_micro_batches({6, 7, 4, 3}, 10), (Batches{{0, 2}, {1, 3}})) << "in order: 6, 7, 4 + 3";
  EXPECT_EQ(pack_micro_batches({2, 9, 2, 9, 2, 9, 2}, 11), (Batches{{0, 1}, {2, 3}, {4, 5}, {6}}));
  base::Rng rng(1);
  int fewer = 0;
  for (int i = 0; i < 200; ++i) {
    std::vector<int64_t> lengths;
    int64_t room = 0;
    size_t in_order = 0;
    for (int k = 0; k < 20; ++k) {
      const int64_t length = lengths.emplace_back(rng.integer(1, 100));
      in_order += length > room ? 1 : 0;
      room = (length > room ? 100 : room) - length;
    }
    const Batches batches = pack_micro_batches(lengths, 100);
    std::vector<int64_t> seen;
    for (const std::vector<int64_t>& batch : batches) {
      int64_t tokens = 0;
      for (const int64_t index : batch) tokens += lengths[static_cast<size_t>(index)];
      EXPECT_LE(tokens, 100);
      EXPECT_TRUE(std::is_sorted(batch.begin(), batch.end()));
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, counting(20));
    EXPECT_LE(batches.size(), in_order);
    fewer += batches.size() < in_order ? 1 : 0;
  }
  EXPECT_GT(fewer, 150);
}

}  // namespace
}  // namespace rqat::data
