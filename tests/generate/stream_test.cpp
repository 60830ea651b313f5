#include "rqat/generate/stream.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/tiny_model.h"
#include "rqat/base/error.h"

namespace rqat::generate {
namespace {

class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    const model::ModelConfig config = model::tiny_config("llama", /*tied=*/false);
    model_ = model::tiny_model(config, model::random_weights(config));
    sampling_.temperature = 1.5;
    sampling_.top_k = 20;
    sampling_.max_new_tokens = 24;
  }
  std::unique_ptr<model::CausalLM> model_;
  SamplingConfig sampling_;
  const std::vector<int64_t> prompt_{3, 1, 4, 1, 5};
};

TEST_F(StreamTest, GivesTheEnginesCompletion) {
  for (const uint64_t seed : {1, 2, 3}) {
    const std::vector<int64_t> stop{7};
    std::vector<int64_t> seen;
    const Completion streamed =
        generate_stream(*model_, stop, prompt_, sampling_, seed, 64, [&](int64_t id) { seen.push_back(id); });
    Engine engine(*model_, stop, 1, 64);
    const Completion expected = engine.generate({{prompt_, 1}}, sampling_, seed)[0][0];
    EXPECT_EQ(streamed.ids, expected.ids);
    EXPECT_EQ(streamed.finished, expected.finished);
    EXPECT_EQ(seen, expected.ids);
    ASSERT_EQ(streamed.log_probs.size(), expected.log_probs.size());
    for (size_t i = 0; i < expected.log_probs.size(); ++i)
      EXPECT_NEAR(streamed.log_probs[i], expected.log_probs[i], 1e-4);
  }
}

TEST_F(StreamTest, StopsAtAStopToken) {
  const auto nothing = [](int64_t) {};
  const Completion open = generate_stream(*model_, {}, prompt_, sampling_, 1, 64, nothing);
  EXPECT_EQ(open.ids.size(), 24u);
  EXPECT_FALSE(open.finished);
  const Completion stopped = generate_stream(*model_, {open.ids[4]}, prompt_, sampling_, 1, 64, nothing);
  EXPECT_LE(stopped.ids.size(), 5u);
  EXPECT_TRUE(stopped.finished);
}

TEST_F(StreamTest, EndsAtTheLimit) {
  const auto nothing = [](int64_t) {};
  EXPECT_EQ(generate_stream(*model_, {}, prompt_, sampling_, 1, 28, nothing).ids.size(), 23u);
  EXPECT_THROW(generate_stream(*model_, {}, prompt_, sampling_, 1, 5, nothing), base::DataError);
}

TEST_F(StreamTest, BrokenWeightsAreNamed) {
  model_->embedding().compute.fill_(std::nan(""));
  EXPECT_THROW(generate_stream(*model_, {}, prompt_, sampling_, 1, 64, [](int64_t) {}), base::DataError);
}

}  // namespace
}  // namespace rqat::generate
