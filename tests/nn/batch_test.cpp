#include "rqat/nn/batch.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "rqat/base/error.h"

namespace rqat::nn {
namespace {

TEST(TokenBatch, LaysDocumentsEndToEnd) {
  const TokenBatch batch = make_token_batch({{5, 6, 7}, {8}});
  EXPECT_TRUE(batch.ids.equal(at::tensor({5, 6, 7, 8}, at::kLong)));
  EXPECT_TRUE(batch.positions.equal(at::tensor({0, 1, 2, 0}, at::kLong)));
  ASSERT_EQ(batch.segments.size(), 2u);
  EXPECT_EQ(batch.segments[1].begin, 3);
  EXPECT_EQ(batch.segments[1].end, 4);
  EXPECT_EQ(batch.segments[1].parent, -1);
  EXPECT_EQ(batch.to(at::kMeta).ids.device(), at::Device(at::kMeta));
  EXPECT_NO_THROW(check_token_batch(batch));
}

TEST(TokenBatch, RefusesEmptyDocuments) {
  EXPECT_THROW(make_token_batch({}), base::DataError);
  EXPECT_THROW(make_token_batch({{1}, {}}), base::DataError);
}

TEST(TokenBatch, CheckFindsEachFault) {
  const TokenBatch good = make_token_batch({{1, 2}, {3, 4}, {5, 6}});
  const auto faulty = [&](const auto& spoil) {
    TokenBatch batch = good;
    spoil(batch);
    EXPECT_THROW(check_token_batch(batch), std::invalid_argument);
  };
  faulty([](TokenBatch& b) { b.ids = b.ids.to(at::kInt); });
  faulty([](TokenBatch& b) { b.positions = at::Tensor(); });
  faulty([](TokenBatch& b) { b.positions = b.positions.slice(0, 1); });
  faulty([](TokenBatch& b) { b.segments[1].begin = 3; });
  faulty([](TokenBatch& b) { b.segments[1].end = 2; });
  faulty([](TokenBatch& b) { b.segments.pop_back(); });
  faulty([](TokenBatch& b) { b.segments[1].parent = 1; });
  faulty([](TokenBatch& b) { b.segments[1].parent = -2; });
  faulty([](TokenBatch& b) {
    b.segments[1].parent = 0;
    b.segments[2].parent = 1;  // a grandparent
  });
}

}  // namespace
}  // namespace rqat::nn
