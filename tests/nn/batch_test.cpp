#include "rqat/nn/batch.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
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

TEST(TargetBatch, WhatAllDocumentsBeginWithIsLaidOnce) {
  std::vector<int64_t> a(20, 7), b(20, 7);
  a.insert(a.end(), {1, 2, 3});
  b.insert(b.end(), {4, 5});
  std::vector<uint8_t> a_mask(23, 0), b_mask(22, 0);
  a_mask[21] = a_mask[22] = b_mask[21] = 1;
  const TargetBatch batch = make_target_batch({{&a, &a_mask}, {&b, &b_mask}});
  EXPECT_NO_THROW(check_token_batch(batch.tokens));
  EXPECT_EQ(batch.tokens.size(), 20 + 3 + 2);
  ASSERT_EQ(batch.tokens.segments.size(), 3u);
  EXPECT_EQ(batch.tokens.segments[0].parent, -1);
  EXPECT_EQ(batch.tokens.segments[1].parent, 0);
  EXPECT_EQ(batch.tokens.segments[2].parent, 0);
  EXPECT_TRUE(batch.tokens.ids.slice(0, 20).equal(at::tensor({1, 2, 3, 4, 5}, at::kLong)));
  EXPECT_TRUE(batch.tokens.positions.slice(0, 20).equal(at::tensor({20, 21, 22, 20, 21}, at::kLong)));
  EXPECT_TRUE(batch.rows.equal(at::tensor({20, 21, 23}, at::kLong)));
  EXPECT_TRUE(batch.targets.equal(at::tensor({2, 3, 5}, at::kLong)));
}

TEST(TargetBatch, RowsThatPredictAreNeverShared) {
  const std::vector<int64_t> ids(30, 7);
  std::vector<uint8_t> from_18(30, 0), none(30, 0);
  std::fill(from_18.begin() + 18, from_18.end(), 1);
  EXPECT_EQ(make_target_batch({{&ids, &from_18}, {&ids, &none}}).tokens.segments[0].end, 17);
  // Also a document without targets keeps a token of its own.
  EXPECT_EQ(make_target_batch({{&ids, &none}, {&ids, &none}}).tokens.segments[0].end, 29);
  // Too short a beginning, or a single document, is not shared.
  from_18[10] = 1;
  EXPECT_EQ(make_target_batch({{&ids, &from_18}, {&ids, &none}}).tokens.segments.size(), 2u);
  EXPECT_EQ(make_target_batch({{&ids, &none}}).tokens.segments.size(), 1u);
}

TEST(TargetBatch, RefusesEmptyDocuments) {
  const std::vector<int64_t> empty, ids{1};
  const std::vector<uint8_t> no_mask, mask{0};
  EXPECT_THROW(make_target_batch({}), base::DataError);
  EXPECT_THROW(make_target_batch({{&ids, &mask}, {&empty, &no_mask}}), base::DataError);
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
  faulty([](TokenBatch& b) { b.segments[1].parent = 2; });
}

}  // namespace
}  // namespace rqat::nn
