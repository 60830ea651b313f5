// Models are fp32 here: bf16 products of different batch shapes may round differently, and a sample then parts ways.
#include "rqat/generate/engine.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/node.h"

namespace rqat::generate {
namespace {

class EngineTest : public testing::Test {
 protected:
  static std::unique_ptr<model::CausalLM> make(const std::string& family = "llama") {
    // With a tied head a random model repeats its last token for ever.
    const model::ModelConfig config = model::tiny_config(family, /*tied=*/false);
    return model::tiny_model(config, model::random_weights(config));
  }

  at::Tensor next_logits(const std::vector<int64_t>& ids) {
    const at::NoGradGuard no_grad;
    return model_->logits(model_->hidden(nn::make_token_batch({ids})).slice(0, -1))[0];
  }

  std::vector<int64_t> greedy_by_full_forwards(std::vector<int64_t> ids, int64_t count) {
    std::vector<int64_t> found;
    for (int64_t i = 0; i < count; ++i) {
      found.push_back(next_logits(ids).argmax().item<int64_t>());
      ids.push_back(found.back());
    }
    return found;
  }

  static SamplingConfig sampling(double temperature, int64_t max_new_tokens) {
    SamplingConfig config;
    config.temperature = temperature;
    config.max_new_tokens = max_new_tokens;
    return config;
  }

  static void expect_same(const std::vector<std::vector<Completion>>& a,
                          const std::vector<std::vector<Completion>>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t r = 0; r < a.size(); ++r) {
      ASSERT_EQ(a[r].size(), b[r].size());
      for (size_t n = 0; n < a[r].size(); ++n) {
        EXPECT_EQ(a[r][n].ids, b[r][n].ids) << "request " << r << " sample " << n;
        EXPECT_EQ(a[r][n].finished, b[r][n].finished);
        ASSERT_EQ(a[r][n].log_probs.size(), b[r][n].log_probs.size());
        for (size_t i = 0; i < a[r][n].log_probs.size(); ++i)
          EXPECT_NEAR(a[r][n].log_probs[i], b[r][n].log_probs[i], 1e-4);
      }
    }
  }

  template <class Error>
  static std::string message(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  std::unique_ptr<model::CausalLM> model_ = make();
  const std::vector<std::vector<int64_t>> prompts_{
      {3, 14, 15}, {9}, {2, 6, 5, 3, 5, 8, 9, 7}, {1, 1, 2, 3, 5}, {44, 7}};
};

TEST_F(EngineTest, GreedyEqualsFullForwards) {
  for (const char* family : {"llama", "qwen3"}) {
    model_ = make(family);
    std::vector<Request> requests;
    for (const auto& prompt : prompts_) requests.push_back({prompt, 1});
    for (const int64_t slots : {1, 2, 8}) {
      Engine engine(*model_, {}, slots, 64);
      const auto completions = engine.generate(requests, sampling(0, 12), 0);
      for (size_t r = 0; r < prompts_.size(); ++r) {
        EXPECT_EQ(completions[r][0].ids, greedy_by_full_forwards(prompts_[r], 12)) << family << " request " << r;
        EXPECT_FALSE(completions[r][0].finished);
      }
    }
  }
}

TEST_F(EngineTest, LogProbsEqualThoseOfFullForwards) {
  for (const double temperature : {0.0, 0.8}) {
    SamplingConfig config = sampling(temperature, 6);
    config.top_k = temperature > 0 ? 3 : 0;
    Engine engine(*model_, {}, 4, 64);
    const auto completions = engine.generate({{prompts_[0], 2}, {prompts_[2], 2}}, config, 5);
    for (const size_t r : {0, 1}) {
      for (const Completion& completion : completions[r]) {
        std::vector<int64_t> ids = r == 0 ? prompts_[0] : prompts_[2];
        for (size_t i = 0; i < completion.ids.size(); ++i) {
          const at::Tensor wanted =
              (next_logits(ids).to(at::kDouble) / (temperature > 0 ? temperature : 1)).log_softmax(-1);
          EXPECT_NEAR(completion.log_probs[i], wanted[completion.ids[i]].item<double>(), 1e-4);
          ids.push_back(completion.ids[i]);
        }
      }
    }
  }
}

TEST_F(EngineTest, SamplesDoNotDependOnSlots) {
  const std::vector<Request> requests{
      {prompts_[0], 5}, {prompts_[1], 1}, {prompts_[2], 7}, {prompts_[3], 2}, {prompts_[4], 3}};
  // Stop tokens make the lengths differ, so that slots are refilled in the midst of others.
  const std::vector<int64_t> stop{0, 1, 2, 3, 4};
  Engine wide(*model_, stop, 64, 64);
  const auto expected = wide.generate(requests, sampling(1, 20), 11);
  EXPECT_EQ(wide.stats().peak_slots, 18);
  for (const int64_t slots : {1, 2, 3, 7}) {
    Engine engine(*model_, stop, slots, 64);
    expect_same(engine.generate(requests, sampling(1, 20), 11), expected);
    EXPECT_EQ(engine.stats().peak_slots, slots);
  }
}

TEST_F(EngineTest, SamplesDoNotDependOnOtherRequests) {
  Engine engine(*model_, {0, 1, 2}, 4, 64);
  const auto beside = engine.generate({{prompts_[0], 5}, {prompts_[1], 3}}, sampling(1, 10), 11);
  const auto others = engine.generate({{prompts_[2], 1}, {prompts_[1], 6}, {prompts_[3], 2}}, sampling(1, 10), 11);
  expect_same({beside[1]}, {{others[1][0], others[1][1], others[1][2]}});
}

TEST_F(EngineTest, PromptIsPrefilledOnceForItsGroup) {
  for (const int64_t slots : {1, 2, 3, 16}) {
    Engine engine(*model_, {0, 1, 2, 3, 4, 5}, slots, 64);
    engine.generate({{prompts_[2], 6}, {prompts_[0], 4}, {prompts_[3], 5}}, sampling(1, 15), 3);
    EXPECT_EQ(engine.stats().prompt_tokens, 8 + 3 + 5) << slots << " slots";
  }
}

TEST_F(EngineTest, WhatAllPromptsBeginWithIsPrefilledOnce) {
  const std::vector<int64_t> system(20, 9);
  std::vector<Request> requests;
  std::vector<std::vector<Completion>> expected;
  Engine engine(*model_, {0, 1, 2}, 3, 64);
  for (const auto& prompt : prompts_) {
    Request request{system, 2, static_cast<int64_t>(requests.size())};
    request.prompt.insert(request.prompt.end(), prompt.begin(), prompt.end());
    expected.push_back(engine.generate({request}, sampling(1, 15), 3).front());
    requests.push_back(request);
  }
  const auto together = engine.generate(requests, sampling(1, 15), 3);
  expect_same(together, expected);
  int64_t own = 0;
  for (const auto& prompt : prompts_) own += static_cast<int64_t>(prompt.size());
  EXPECT_EQ(engine.stats().prompt_tokens, 20 + own);
}

TEST_F(EngineTest, LongPromptsArePrefilledInParts) {
  std::vector<Request> requests;
  for (int64_t r = 0; r < 4; ++r) {
    std::vector<int64_t> prompt;
    for (int64_t i = 0; i < 900 + r; ++i) prompt.push_back((i * i + r) % 50);
    requests.push_back({prompt, 2});
  }
  Engine engine(*model_, {}, 8, 1000);
  const auto completions = engine.generate(requests, sampling(0, 4), 0);
  for (size_t r = 0; r < requests.size(); ++r) {
    const std::vector<int64_t> wanted = greedy_by_full_forwards(requests[r].prompt, 4);
    EXPECT_EQ(completions[r][0].ids, wanted);
    EXPECT_EQ(completions[r][1].ids, wanted);
  }
  EXPECT_EQ(engine.stats().steps, 4);  // the first two requests take a step while the others are prefilled
}

TEST_F(EngineTest, SeedsReproduceAndDiffer) {
  Engine engine(*model_, {}, 8, 64);
  const std::vector<Request> requests{{prompts_[0], 4}, {prompts_[0], 4}};
  const auto first = engine.generate(requests, sampling(1, 12), 1);
  expect_same(engine.generate(requests, sampling(1, 12), 1), first);
  EXPECT_NE(engine.generate(requests, sampling(1, 12), 2)[0][0].ids, first[0][0].ids);
  EXPECT_NE(first[0][0].ids, first[0][1].ids);
  EXPECT_NE(first[0][0].ids, first[1][0].ids);
}

TEST_F(EngineTest, StopTokenEndsSequenceAndIsKept) {
  const std::vector<int64_t> free_run = greedy_by_full_forwards(prompts_[2], 12);
  size_t place = 2;
  while (std::find(free_run.begin(), free_run.end(), free_run[place]) - free_run.begin() <
         static_cast<std::ptrdiff_t>(place)) {
    ASSERT_LT(++place, free_run.size()) << "the model repeats itself from the start: choose another prompt";
  }
  Engine engine(*model_, {free_run[place]}, 2, 64);
  const Completion completion = engine.generate({{prompts_[2], 1}}, sampling(0, 12), 0)[0][0];
  EXPECT_TRUE(completion.finished);
  EXPECT_EQ(completion.ids,
            std::vector<int64_t>(free_run.begin(), free_run.begin() + static_cast<std::ptrdiff_t>(place) + 1));
  EXPECT_EQ(completion.log_probs.size(), completion.ids.size());
}

TEST_F(EngineTest, FirstTokenMayEndSequence) {
  const int64_t first = greedy_by_full_forwards(prompts_[0], 1)[0];
  Engine engine(*model_, {first}, 2, 64);
  const auto completions = engine.generate({{prompts_[0], 5}}, sampling(0, 8), 0);
  for (const Completion& completion : completions[0]) {
    EXPECT_EQ(completion.ids, std::vector<int64_t>{first});
    EXPECT_TRUE(completion.finished);
  }
  EXPECT_EQ(engine.stats().steps, 0);
  EXPECT_EQ(engine.stats().new_tokens, 5);
}

TEST_F(EngineTest, OneNewTokenNeedsNoDecodeStep) {
  Engine engine(*model_, {}, 2, 64);
  EXPECT_EQ(engine.generate({{prompts_[0], 3}}, sampling(0, 1), 0)[0][2].ids, greedy_by_full_forwards(prompts_[0], 1));
  EXPECT_EQ(engine.stats().steps, 0);
}

TEST_F(EngineTest, ReportsProgressAndCounts) {
  Engine engine(*model_, {}, 2, 64);
  std::vector<int64_t> done;
  engine.generate({{prompts_[0], 3}, {prompts_[1], 2}}, sampling(0, 4), 0, [&](int64_t now, int64_t total) {
    done.push_back(now);
    EXPECT_EQ(total, 5);
  });
  EXPECT_EQ(done, (std::vector<int64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(engine.stats().new_tokens, 20);
  EXPECT_EQ(engine.stats().prompt_tokens, 4);
  EXPECT_EQ(engine.stats().steps, 9);  // three rounds of 1 + 3 tokens, two, two and one at a time
  EXPECT_GT(engine.stats().seconds, 0);
}

TEST_F(EngineTest, NoRequestsGiveNothing) {
  Engine engine(*model_, {}, 2, 64);
  EXPECT_TRUE(engine.generate({}, sampling(0, 4), 0).empty());
  EXPECT_EQ(engine.stats().new_tokens, 0);
}

TEST_F(EngineTest, RequestsThatDoNotFitAreNamed) {
  Engine engine(*model_, {}, 2, 8);
  const std::string text = message<base::DataError>([&] {
    engine.generate({{prompts_[0], 1}, {prompts_[2], 1}}, sampling(0, 3), 0);
  });
  for (const char* part : {"request 2", "8 tokens", "no room", "may have 8 together"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  EXPECT_NE(message<base::DataError>([&] {
              engine.generate({{{}, 1}}, sampling(0, 3), 0);
            }).find("prompt is empty"),
            std::string::npos);
  EXPECT_NE(message<base::DataError>([&] {
              engine.generate({{prompts_[0], 0}}, sampling(0, 3), 0);
            }).find("num_samples is 0"),
            std::string::npos);
  EXPECT_THROW(Engine(*model_, {}, 0, 10), std::invalid_argument);
}

TEST_F(EngineTest, AnswersEndWhereTheLimitIs) {
  Engine free(*model_, {}, 2, 64), narrow(*model_, {}, 2, 10);
  const std::vector<Request> requests{{prompts_[0], 2}, {prompts_[2], 1}};  // prompts_[2] has 8 tokens
  const auto whole = free.generate(requests, sampling(1, 5), 3), cut = narrow.generate(requests, sampling(1, 5), 3);
  for (size_t request = 0; request < requests.size(); ++request) {
    const size_t room = std::min<size_t>(5, 10 - requests[request].prompt.size());
    for (size_t i = 0; i < whole[request].size(); ++i) {
      const std::vector<int64_t>& ids = whole[request][i].ids;
      EXPECT_EQ(cut[request][i].ids, std::vector<int64_t>(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(room)));
      EXPECT_FALSE(cut[request][i].finished);
    }
  }
}

TEST_F(EngineTest, SamplingOutsideItsRangeIsRefused) {
  Engine engine(*model_, {}, 2, 64);
  const auto refused = [&](const std::function<void(SamplingConfig&)>& change) {
    SamplingConfig config = sampling(1, 4);
    change(config);
    return message<base::ConfigError>([&] { engine.generate({{prompts_[0], 1}}, config, 0); });
  };
  EXPECT_EQ(refused([](SamplingConfig& c) { c.temperature = -1; }), "sampling: temperature is -1, expected >= 0");
  EXPECT_EQ(refused([](SamplingConfig& c) { c.top_p = 0; }), "sampling: top_p is 0, expected > 0 and <= 1");
  EXPECT_EQ(refused([](SamplingConfig& c) { c.top_k = -2; }), "sampling: top_k is -2, expected >= 0 (0 = all tokens)");
  EXPECT_EQ(refused([](SamplingConfig& c) { c.max_new_tokens = 0; }), "sampling: max_new_tokens is 0, expected >= 1");
}

TEST_F(EngineTest, SamplingIsReadWithItsRanges) {
  SamplingConfig config;
  base::Faults faults;
  base::read_config(config, base::Node::parse("{temperature: 0.6, top_p: 0.95, top_k: 20, max_new_tokens: 7}", "r"),
                    "s", faults);
  EXPECT_TRUE(faults.empty());
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.max_new_tokens, 7);
  base::read_config(config, base::Node::parse("{temperature: -1, top_p: 0, top_k: -1, max_new_tokens: 0}", "r"), "s",
                    faults);
  EXPECT_EQ(faults.size(), 4u);
}

TEST_F(EngineTest, NonFiniteLogitsAreAnError) {
  model_->embedding().compute.fill_(NAN);
  Engine engine(*model_, {}, 2, 64);
  const std::string text = message<base::DataError>([&] { engine.generate({{prompts_[0], 1}}, sampling(1, 4), 0); });
  EXPECT_NE(text.find("token 1 of request 1, sample 1"), std::string::npos) << text;
}

}  // namespace
}  // namespace rqat::generate
