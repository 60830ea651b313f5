#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "rqat/base/error.h"
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
}

}  // namespace
}  // namespace rqat::data
