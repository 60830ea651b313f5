#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cctype>

#include "generate/fake_text.h"
#include "model/tiny_model.h"
#include "rqat/answer/answer.h"
#include "rqat/base/error.h"
#include "rqat/eval/evaluate.h"

namespace rqat::eval {
namespace {

class TasksTest : public testing::Test {
 protected:
  TasksTest() {
    const model::ModelConfig config = model::tiny_config();
    model_ = model::tiny_model(config, model::random_weights(config));
    for (const char* prompt : {"1+2=?", "how much is 3?", "9", "7*7", "a=4, b=5", "12345"}) {
      data::Record record;
      record.prompt = prompt;
      record.family = records_.size() < 4 ? "chain_sums" : "comparison";
      record.problem.family = record.family;
      record.problem.answer = "no number";
      records_.push_back(record);
    }
    sampling_.max_new_tokens = 24;
  }

  TaskResult run(int64_t batch, uint64_t seed = 3) {
    return evaluate_tasks(*model_, tokenizer_, chat_, {generate::CharacterTokenizer::kStop}, records_, data_, sampling_,
                          batch, seed);
  }

  std::unique_ptr<model::CausalLM> model_;
  generate::CharacterTokenizer tokenizer_;
  generate::PlainChat chat_;
  std::vector<data::Record> records_;
  data::DataConfig data_;
  generate::SamplingConfig sampling_;
};

TEST_F(TasksTest, CountsRightAnswersByFamily) {
  sampling_.temperature = 1;
  const TaskResult first = run(4);
  EXPECT_EQ(first.overall.successes, 0);
  // The problems are now such that the given answers to the first and the last are right.
  ASSERT_TRUE(answer::last_number(first.responses[0]) && answer::last_number(first.responses[5]));
  records_[0].problem.answer = *answer::last_number(first.responses[0]);
  records_[5].problem.answer = *answer::last_number(first.responses[5]);
  const TaskResult result = run(4);
  EXPECT_EQ(result.responses, first.responses);
  EXPECT_EQ(result.correct, (std::vector<uint8_t>{1, 0, 0, 0, 0, 1}));
  EXPECT_EQ(result.overall.successes, 2);
  EXPECT_EQ(result.overall.total, 6);
  ASSERT_EQ(result.by_family.size(), 2u);
  EXPECT_EQ(result.by_family.at("chain_sums").successes, 1);
  EXPECT_EQ(result.by_family.at("chain_sums").total, 4);
  EXPECT_EQ(result.by_family.at("comparison").successes, 1);
  EXPECT_EQ(result.by_family.at("comparison").total, 2);
}

// Each problem's answer is made the last number of the response to it; only where that number may go on is it wrong.
TEST_F(TasksTest, AnAnswerCutInTwoIsWrong) {
  sampling_.temperature = 2;
  sampling_.max_new_tokens = 8;
  int64_t right = 0, cut_number = 0, finished_number = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    generate::Engine engine(*model_, {generate::CharacterTokenizer::kStop}, 3, 512);
    std::vector<generate::Request> requests;
    for (const data::Record& record : records_) requests.push_back({tokenizer_.encode(record.prompt), 1});
    const auto completions = engine.generate(requests, sampling_, seed);
    std::vector<uint8_t> expected;
    for (size_t i = 0; i < records_.size(); ++i) {
      const std::string text = tokenizer_.decode(completions[i][0].ids, /*skip_special=*/true);
      const auto number = answer::last_number(text);
      records_[i].problem.answer = number.value_or("no number");
      const size_t kept = text.size() - (text.ends_with('.') || text.ends_with(',') ? 1 : 0);
      const bool ends_in_number = kept > 0 && std::isdigit(static_cast<unsigned char>(text[kept - 1])) != 0;
      const bool cut = !completions[i][0].finished;
      expected.push_back(number && !(cut && ends_in_number) ? 1 : 0);
      right += expected.back();
      cut_number += cut && ends_in_number ? 1 : 0;
      finished_number += !cut && ends_in_number ? 1 : 0;
    }
    EXPECT_EQ(run(6, seed).correct, expected) << "seed " << seed;
  }
  EXPECT_GT(right, 0);
  EXPECT_GT(cut_number, 0);
  EXPECT_GT(finished_number, 0);
}

TEST_F(TasksTest, BatchDoesNotMatter) {
  for (const double temperature : {0.0, 1.0}) {
    sampling_.temperature = temperature;
    EXPECT_EQ(run(1).responses, run(8).responses);
  }
}

TEST_F(TasksTest, LengthsAndCutsAreThoseOfTheEngine) {
  sampling_.temperature = 2;
  generate::Engine engine(*model_, {generate::CharacterTokenizer::kStop}, 3, 512);
  std::vector<generate::Request> requests;
  for (const data::Record& record : records_) requests.push_back({tokenizer_.encode(record.prompt), 1});
  double tokens = 0, cut = 0;
  for (const auto& completions : engine.generate(requests, sampling_, 3)) {
    tokens += static_cast<double>(completions[0].ids.size());
    cut += completions[0].finished ? 0 : 1;
  }
  const TaskResult result = run(6);
  ASSERT_GT(cut, 0);
  ASSERT_LT(cut, 6);
  EXPECT_DOUBLE_EQ(result.mean_response_tokens, tokens / 6);
  EXPECT_DOUBLE_EQ(result.cut_share, cut / 6);
  EXPECT_GT(result.tokens_per_second, 0);
  for (const std::string& response : result.responses) EXPECT_EQ(response.find("<stop>"), std::string::npos);
}

TEST_F(TasksTest, NoProblemsIsAnError) {
  records_.clear();
  EXPECT_THROW(run(4), base::DataError);
}

TEST_F(TasksTest, PromptBeyondTheModelIsNamed) {
  records_[2].prompt = std::string(600, '1');
  try {
    run(4);
    FAIL();
  } catch (const base::DataError& error) {
    EXPECT_NE(std::string(error.what()).find("request 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace rqat::eval
