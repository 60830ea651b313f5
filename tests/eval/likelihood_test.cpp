#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/eval/evaluate.h"

namespace rqat::eval {
namespace {

std::unique_ptr<model::CausalLM> make(uint64_t seed) {
  const model::ModelConfig config = model::tiny_config();
  return model::tiny_model(config, model::random_weights(config, seed));
}

std::vector<data::Example> examples() {
  return {{{4, 8, 15, 16, 23, 42}, {0, 0, 0, 1, 1, 1}}, {{1, 2, 3}, {0, 0, 0}}, {{7, 7, 9, 30}, {1, 1, 0, 1}}};
}

at::Tensor all_log_probs(model::CausalLM& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  return model.logits(model.hidden(nn::make_token_batch({ids}))).to(at::kDouble).log_softmax(-1);
}

TEST(Likelihood, EqualsDirectSums) {
  const auto student = make(1), teacher = make(2);
  double nll = 0, kl = 0;
  int64_t tokens = 0;
  for (const data::Example& example : examples()) {
    const at::Tensor q = all_log_probs(*student, example.ids), p = all_log_probs(*teacher, example.ids);
    for (int64_t i = 1; i < static_cast<int64_t>(example.ids.size()); ++i) {
      if (example.loss_mask[static_cast<size_t>(i)] == 0) continue;
      nll -= q[i - 1][example.ids[static_cast<size_t>(i)]].item<double>();
      kl += (p[i - 1].exp() * (p[i - 1] - q[i - 1])).sum().item<double>();
      ++tokens;
    }
  }
  ASSERT_EQ(tokens, 5);
  for (const int64_t max_tokens : {1, 7, 4096}) {
    const LikelihoodResult result = evaluate_likelihood(*student, teacher.get(), examples(), max_tokens);
    EXPECT_EQ(result.tokens, tokens);
    EXPECT_NEAR(std::log(result.perplexity), nll / static_cast<double>(tokens), 1e-5);
    ASSERT_TRUE(result.kl_to_teacher);
    EXPECT_NEAR(*result.kl_to_teacher, kl / static_cast<double>(tokens), 1e-5);
  }
}

TEST(Likelihood, TeacherIsOptional) {
  const auto student = make(1);
  EXPECT_FALSE(evaluate_likelihood(*student, nullptr, examples()).kl_to_teacher);
}

TEST(Likelihood, ModelDoesNotDifferFromItself) {
  const auto student = make(1), same = make(1);
  EXPECT_EQ(*evaluate_likelihood(*student, student.get(), examples()).kl_to_teacher, 0);
  EXPECT_NEAR(*evaluate_likelihood(*student, same.get(), examples()).kl_to_teacher, 0, 1e-6);
}

TEST(Likelihood, NeedsResponseTokens) {
  const auto student = make(1);
  EXPECT_THROW(evaluate_likelihood(*student, nullptr, {}), base::DataError);
  EXPECT_THROW(evaluate_likelihood(*student, nullptr, {{{1, 2, 3}, {1, 0, 0}}}), base::DataError);
}

TEST(Likelihood, NonFiniteIsAnError) {
  const auto student = make(1);
  student->embedding().compute.fill_(NAN);
  EXPECT_THROW(evaluate_likelihood(*student, nullptr, examples()), base::DataError);
}

}  // namespace
}  // namespace rqat::eval
