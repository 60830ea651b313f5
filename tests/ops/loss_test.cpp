#include "rqat/ops/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "composed.h"
#include "ops/close.h"

namespace rqat::ops {
namespace {

at::Tensor targets_for(int64_t rows, int64_t size) { return at::randint(size, {rows}, at::kLong); }

// The formulas of the header in fp64, one row at a time, sharing nothing with the code under test.
struct Oracle {
  std::vector<double> log_softmax(const at::Tensor& row, double temperature) const {
    const at::Tensor wide = row.to(at::kDouble).contiguous();
    const double* logits = wide.const_data_ptr<double>();
    std::vector<double> result(logits, logits + wide.numel());
    double top = -INFINITY, total = 0;
    for (double& z : result) top = std::max(top, z /= temperature);
    for (double z : result) total += std::exp(z - top);
    for (double& z : result) z -= top + std::log(total);
    return result;
  }
  double divergence(const at::Tensor& student, const at::Tensor& teacher, double beta, double temperature) const {
    const std::vector<double> q = log_softmax(student, temperature), p = log_softmax(teacher, temperature);
    double loss = 0;
    for (size_t i = 0; i < q.size(); ++i) {
      const double pi = std::exp(p[i]), qi = std::exp(q[i]), m = std::log(beta * pi + (1 - beta) * qi);
      if (beta == 0) {
        loss += pi * (p[i] - q[i]);
      } else if (beta == 1) {
        loss += qi * (q[i] - p[i]);
      } else {
        loss += beta * pi * (p[i] - m) + (1 - beta) * qi * (q[i] - m);
      }
    }
    return loss * temperature * temperature;
  }
  double entropy(const at::Tensor& row, double temperature) const {
    double result = 0;
    for (double log_q : log_softmax(row, temperature)) result -= std::exp(log_q) * log_q;
    return result;
  }
};

// Central differences in fp64 of `value` at each element of a fp64 row.
template <class Value>
at::Tensor finite_differences(const at::Tensor& row, const Value& value) {
  constexpr double kStep = 1e-5;
  at::Tensor result = at::empty_like(row);
  for (int64_t i = 0; i < row.numel(); ++i) {
    at::Tensor moved = row.clone();
    double& element = moved.mutable_data_ptr<double>()[i];
    const double middle = element;
    element = middle + kStep;
    const double high = value(moved);
    element = middle - kStep;
    result.mutable_data_ptr<double>()[i] = (high - value(moved)) / (2 * kStep);
  }
  return result;
}

class LossRows : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Vocabularies, LossRows, testing::Values(1, 7, 16, 37, 600));

TEST_P(LossRows, CrossEntropyEqualsItsFormula) {
  at::manual_seed(1);
  const Oracle oracle;
  const int64_t rows = 3, size = GetParam();
  const at::Tensor logits = at::randn({rows, size}) * 3, targets = targets_for(rows, size);
  const at::Tensor weight = at::tensor({0.5f, 0.0f, 2.0f});
  at::Tensor gradient = logits.clone();
  const RowLoss result = cross_entropy_rows(gradient, targets, weight, true);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t target = targets[r].item<int64_t>();
    const auto value = [&](const at::Tensor& row) { return -oracle.log_softmax(row, 1)[target]; };
    if (r != 1) {
      EXPECT_NEAR(result.loss[r].item<float>(), value(logits[r]), 1e-5);
    }
    EXPECT_NEAR(result.entropy[r].item<float>(), oracle.entropy(logits[r], 1), 1e-5);
    const at::Tensor expected = finite_differences(logits[r].to(at::kDouble), value) * weight[r].to(at::kDouble);
    EXPECT_TRUE(test::close(gradient[r], expected, 1e-5));
  }
  EXPECT_EQ(gradient[1].abs().max().item<float>(), 0);
}

TEST_P(LossRows, DivergencesEqualTheirFormulas) {
  at::manual_seed(2);
  const Oracle oracle;
  const int64_t size = GetParam();
  for (const double beta : {0.0, 0.1, 0.5, 1.0}) {
    for (const double temperature : {1.0, 2.5}) {
      const at::Tensor student = at::randn({2, size}) * 2, teacher = at::randn({2, size}) * 2;
      const at::Tensor weight = at::tensor({1.5f, 0.0f});
      at::Tensor gradient = student.clone(), scratch = teacher.clone();
      const RowLoss result = divergence_rows(gradient, scratch, weight, beta, temperature, true);
      const at::Tensor wide_teacher = teacher.to(at::kDouble);
      const auto value = [&](const at::Tensor& row) {
        return oracle.divergence(row, wide_teacher[0], beta, temperature);
      };
      EXPECT_NEAR(result.loss[0].item<float>(), value(student[0].to(at::kDouble)), 1e-5) << beta;
      EXPECT_NEAR(result.loss[1].item<float>(), oracle.divergence(student[1], teacher[1], beta, temperature), 1e-5);
      EXPECT_NEAR(result.entropy[0].item<float>(), oracle.entropy(student[0], temperature), 1e-5);
      const at::Tensor expected = finite_differences(student[0].to(at::kDouble), value) * 1.5;
      EXPECT_TRUE(test::close(gradient[0], expected, 1e-5)) << beta << " " << temperature;
      EXPECT_EQ(gradient[1].abs().max().item<float>(), 0);
    }
  }
}

TEST_P(LossRows, LogProbEqualsItsFormula) {
  at::manual_seed(3);
  const Oracle oracle;
  const int64_t rows = 2, size = GetParam();
  const double temperature = 0.7;
  const at::Tensor logits = at::randn({rows, size}) * 3, targets = targets_for(rows, size);
  const at::Tensor kept = logits.clone(), coefficient = at::tensor({-1.25f, 0.0f});
  const RowLogProb result = log_prob_rows(logits, targets, temperature);
  EXPECT_TRUE(at::equal(logits, kept));
  at::Tensor gradient = logits.clone();
  log_prob_rows_backward(gradient, targets, coefficient, temperature);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t target = targets[r].item<int64_t>();
    const auto value = [&](const at::Tensor& row) { return oracle.log_softmax(row, temperature)[target]; };
    EXPECT_NEAR(result.log_prob[r].item<float>(), value(logits[r]), 2e-5);
    EXPECT_NEAR(result.entropy[r].item<float>(), oracle.entropy(logits[r], temperature), 1e-5);
    const at::Tensor expected = finite_differences(logits[r].to(at::kDouble), value) * coefficient[r].to(at::kDouble);
    EXPECT_TRUE(test::close(gradient[r], expected, 1e-5));
  }
  EXPECT_EQ(gradient[1].abs().max().item<float>(), 0);
}

// The composition is what runs on other devices: the same values from it.
TEST_P(LossRows, CompositionAgreesWithTheFusedRows) {
  at::manual_seed(4);
  const int64_t rows = 5, size = GetParam();
  const at::Tensor logits = at::randn({rows, size}) * 4, teacher = at::randn({rows, size}) * 4;
  const at::Tensor targets = targets_for(rows, size), weight = at::rand({rows});
  weight[2] = 0;
  at::Tensor a = logits.clone(), b = logits.clone();
  RowLoss x = cross_entropy_rows(a, targets, weight, true), y = composed::cross_entropy_rows(b, targets, weight, true);
  EXPECT_TRUE(test::close(a, b, 1e-6) && test::close(x.loss, y.loss, 1e-5) && test::close(x.entropy, y.entropy, 1e-5));
  for (const double beta : {0.0, 0.3, 1.0}) {
    at::Tensor s1 = logits.clone(), s2 = logits.clone(), t1 = teacher.clone(), t2 = teacher.clone();
    x = divergence_rows(s1, t1, weight, beta, 1.5, true);
    y = composed::divergence_rows(s2, t2, weight, beta, 1.5, true);
    EXPECT_TRUE(test::close(s1, s2, 2e-6) && test::close(x.loss, y.loss, 1e-5) &&
                test::close(x.entropy, y.entropy, 1e-5))
        << beta;
  }
  const RowLogProb p = log_prob_rows(logits, targets, 2), r = composed::log_prob_rows(logits, targets, 2);
  EXPECT_TRUE(test::close(p.log_prob, r.log_prob, 1e-5) && test::close(p.entropy, r.entropy, 1e-5));
  a = logits.clone(), b = logits.clone();
  log_prob_rows_backward(a, targets, weight, 2);
  composed::log_prob_rows_backward(b, targets, weight, 2);
  EXPECT_TRUE(test::close(a, b, 1e-6));
}

TEST(Loss, ValueOnlyLeavesTheLogits) {
  at::Tensor logits = at::randn({2, 20}), teacher = at::randn({2, 20});
  const at::Tensor kept = logits.clone(), weight = at::ones({2});
  at::Tensor with_gradient = logits.clone(), scratch = teacher.clone();
  const at::Tensor expected = divergence_rows(with_gradient, scratch, weight, 0.5, 1, true).loss;
  EXPECT_TRUE(at::equal(divergence_rows(logits, teacher, weight, 0.5, 1, false).loss, expected));
  cross_entropy_rows(logits, at::zeros({2}, at::kLong), weight, false);
  EXPECT_TRUE(at::equal(logits, kept));
}

TEST(Loss, ExtremeLogitsStayFinite) {
  for (const double top : {1e4, -1e4}) {
    for (const double beta : {0.0, 0.5, 1.0}) {
      at::Tensor student = at::randn({1, 600}) + top, teacher = at::randn({1, 600}) * 1e4;
      student[0][5] = -top;
      const RowLoss result = divergence_rows(student, teacher, at::ones({1}), beta, 1, true);
      EXPECT_TRUE(std::isfinite(result.loss.item<float>())) << top << " " << beta;
      EXPECT_GE(result.loss.item<float>(), 0);
      EXPECT_TRUE(student.isfinite().all().item<bool>()) << top << " " << beta;
    }
    at::Tensor logits = at::zeros({1, 600});
    logits[0][3] = top;
    const RowLoss result = cross_entropy_rows(logits, at::tensor({4L}), at::ones({1}), true);
    EXPECT_FLOAT_EQ(result.loss.item<float>(), top > 0 ? 1e4f : std::log(599.0f));
    EXPECT_TRUE(logits.isfinite().all().item<bool>());
  }
}

TEST(Loss, ForbiddenTokensHaveNoGradientAndNaNIsSeen) {
  at::Tensor logits = at::randn({2, 600});
  logits.slice(1, 0, 590).fill_(-INFINITY);
  logits[1][595] = NAN;
  const RowLoss result = cross_entropy_rows(logits, at::tensor({598L, 598L}), at::ones({2}), true);
  EXPECT_TRUE(std::isfinite(result.loss[0].item<float>()) && std::isfinite(result.entropy[0].item<float>()));
  EXPECT_EQ(logits[0].slice(0, 0, 590).abs().max().item<float>(), 0);
  EXPECT_TRUE(std::isnan(result.loss[1].item<float>()));
  at::Tensor all_nan = at::full({1, 5}, NAN);
  EXPECT_TRUE(std::isnan(log_prob_rows(all_nan, at::zeros({1}, at::kLong), 1).log_prob.item<float>()));
}

TEST(Loss, MaskedRowsAreZeroWhateverTheyHold) {
  const at::Tensor weight = at::zeros({1}), targets = at::tensor({-100L});
  at::Tensor logits = at::full({1, 30}, NAN), teacher = at::full({1, 30}, INFINITY);
  EXPECT_EQ(cross_entropy_rows(logits, targets, weight, true).loss.item<float>(), 0);
  EXPECT_EQ(logits.abs().max().item<float>(), 0);
  logits.fill_(NAN);
  divergence_rows(logits, teacher, weight, 0.5, 1, true);
  EXPECT_EQ(logits.abs().max().item<float>(), 0);
}

TEST(Loss, ThreadsDoNotMatter) {
  at::manual_seed(5);
  const at::Tensor logits = at::randn({37, 1000}), teacher = at::randn({37, 1000});
  const auto run = [&] {
    at::Tensor s = logits.clone(), t = teacher.clone();
    const RowLoss result = divergence_rows(s, t, at::ones({37}), 0.5, 1, true);
    return at::cat({s.flatten(), result.loss, result.entropy});
  };
  EXPECT_TRUE(test::same_for_any_threads(run));
}

TEST(Loss, WrongArgumentsAreNamed) {
  at::Tensor logits = at::randn({2, 9}), teacher = at::randn({2, 8}), half = logits.to(at::kHalf);
  const at::Tensor weight = at::ones({2}), targets = at::tensor({1L, 9L});
  EXPECT_EQ(test::value_error([&] { cross_entropy_rows(logits, targets, weight, true); }),
            "[cross_entropy_rows] expected the target of row 1 in 0..8, got 9");
  EXPECT_EQ(test::value_error([&] { cross_entropy_rows(half, targets, weight, true); }),
            "[cross_entropy_rows] expected logits of type Float, got Half");
  EXPECT_EQ(test::value_error([&] { divergence_rows(logits, teacher, weight, 0, 1, true); }),
            "[divergence_rows] expected teacher of shape [2, 9], got [2, 8]");
  at::Tensor same = logits.clone();
  EXPECT_EQ(test::value_error([&] { divergence_rows(logits, same, weight, 1.5, 1, true); }),
            "[divergence_rows] expected beta in 0..1, got 1.5");
  EXPECT_EQ(test::value_error([&] { divergence_rows(logits, same, weight, 0, 0, true); }),
            "[divergence_rows] expected temperature > 0, got 0");
  EXPECT_EQ(test::value_error([&] { log_prob_rows(logits, targets, 1); }),
            "[log_prob_rows] expected the target of row 1 in 0..8, got 9");
  EXPECT_EQ(test::value_error([&] { log_prob_rows_backward(logits, targets, at::ones({3}), 1); }),
            "[log_prob_rows_backward] expected coefficient of shape [2], got [3]");
  at::Tensor flat = at::randn({3});
  EXPECT_EQ(test::value_error([&] { cross_entropy_rows(flat, targets, weight, true); }),
            "[cross_entropy_rows] expected logits [R, V] with V > 0, got shape [3]");
}

}  // namespace
}  // namespace rqat::ops
