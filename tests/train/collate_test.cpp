#include <gtest/gtest.h>

#include "train/train_support.h"

namespace rqat::train {
namespace {

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

TEST(Collate, RowsPredictTheNextCountedToken) {
  const data::Example first{{10, 11, 12, 13}, {0, 0, 1, 1}}, second{{20, 21, 22}, {1, 0, 1}}, silent{{30, 31}, {0, 0}};
  const Collated collated = collate({&first, &silent, &second}, at::kCPU);
  ASSERT_EQ(collated.tokens.size(), 64);  // filled up, and no row looks at the filling
  EXPECT_EQ(numbers(collated.tokens.ids.slice(0, 0, 9)), (std::vector<int64_t>{10, 11, 12, 13, 30, 31, 20, 21, 22}));
  EXPECT_EQ(numbers(collated.tokens.positions.slice(0, 0, 9)), (std::vector<int64_t>{0, 1, 2, 3, 0, 1, 0, 1, 2}));
  EXPECT_EQ(numbers(collated.rows), (std::vector<int64_t>{1, 2, 7}));  // a first token is never predicted
  EXPECT_EQ(numbers(collated.targets), (std::vector<int64_t>{12, 13, 22}));
  ASSERT_EQ(collated.tokens.segments.size(), 4u);
  EXPECT_EQ(collated.tokens.segments[1].begin, 4);
  EXPECT_EQ(collated.tokens.segments[1].end, 6);
  EXPECT_EQ(collated.tokens.segments[3].begin, 9);
  EXPECT_EQ(collated.tokens.segments[3].parent, -1);
}

TEST(Collate, RowsAgreeWithTheCountOfTargets) {
  const std::vector<data::Example> examples = random_examples(5);
  std::vector<const data::Example*> pointers;
  int64_t targets = 0;
  for (const data::Example& example : examples) {
    pointers.push_back(&example);
    targets += example.num_targets();
  }
  EXPECT_EQ(collate(pointers, at::kCPU).rows.numel(), targets);
}

}  // namespace
}  // namespace rqat::train
