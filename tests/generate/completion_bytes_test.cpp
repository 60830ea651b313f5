#include "generate/completion_bytes.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace rqat::generate {
namespace {

TEST(CompletionBytes, ReadBackAsWritten) {
  const std::vector<std::vector<Completion>> written{{{{1, 2, 50000}, {-0.5f, 0.0f, -3.25f}, true}, {{}, {}, false}},
                                                     {}};
  const auto read = from_bytes(to_bytes(written));
  ASSERT_EQ(read.size(), 2u);
  ASSERT_EQ(read[0].size(), 2u);
  EXPECT_TRUE(read[1].empty());
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[0][i].ids, written[0][i].ids);
    EXPECT_EQ(read[0][i].log_probs, written[0][i].log_probs);
    EXPECT_EQ(read[0][i].finished, written[0][i].finished);
  }
}

TEST(CompletionBytes, TornTextIsRefused) {
  std::string bytes = to_bytes({{{{1, 2}, {0.0f, 0.0f}, true}}});
  bytes.resize(bytes.size() - 3);
  EXPECT_THROW(from_bytes(bytes), std::logic_error);
}

}  // namespace
}  // namespace rqat::generate
