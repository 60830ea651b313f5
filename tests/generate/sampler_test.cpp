#include "generate/sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "rqat/base/rng.h"

namespace rqat::generate {
namespace {

SamplingConfig config(double temperature, int64_t top_k = 0, double top_p = 1) {
  SamplingConfig sampling;
  sampling.temperature = temperature;
  sampling.top_k = top_k;
  sampling.top_p = top_p;
  return sampling;
}

at::Tensor logits_of(const std::vector<double>& probabilities) {
  return at::tensor(probabilities, at::kDouble).log().to(at::kFloat).unsqueeze(0);
}

Draw draw_one(const at::Tensor& logits, double uniform, const SamplingConfig& sampling) {
  return draw_tokens(logits.clone(), {0}, {uniform}, sampling).front();
}

/// Pearson's statistic of `count` draws against the wanted distribution; a draw outside its support is a failure.
double chi_square(const at::Tensor& logits, const std::vector<double>& wanted, const SamplingConfig& sampling,
                  int count) {
  base::Rng rng(7, "chi square");
  std::vector<double> uniforms(static_cast<size_t>(count));
  for (double& uniform : uniforms) uniform = rng.uniform();
  std::vector<double> seen(wanted.size(), 0);
  for (const Draw& draw : draw_tokens(logits.clone(), std::vector<int64_t>(uniforms.size(), 0), uniforms, sampling)) {
    ++seen[static_cast<size_t>(draw.id)];
  }
  double statistic = 0;
  for (size_t id = 0; id < wanted.size(); ++id) {
    const double expected = wanted[id] * count;
    if (expected == 0) {
      EXPECT_EQ(seen[id], 0) << "token " << id;
    } else {
      statistic += (seen[id] - expected) * (seen[id] - expected) / expected;
    }
  }
  return statistic;
}

constexpr double kChi1 = 10.83, kChi2 = 13.82, kChi5 = 20.52;  // 0.999 quantiles by degrees of freedom
const std::vector<double> kProbabilities{0.05, 0.3, 0.1, 0.25, 0.22, 0.08};

TEST(Sampler, GreedyTakesLargestAndLowestOfEqual) {
  const at::Tensor logits = at::tensor({1.0f, 3.0f, 3.0f, -2.0f, 5.0f, 4.0f, 0.0f, 5.5f}).view({2, 4});
  const std::vector<Draw> draws = draw_tokens(logits.clone(), {0, 1}, {0.9, 0.1}, config(0));
  EXPECT_EQ(draws[0].id, 1);
  EXPECT_EQ(draws[1].id, 3);
  EXPECT_NEAR(draws[0].log_prob, 3 - std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(-2.0)), 1e-6);
}

TEST(Sampler, GreedyFindsMaximumAnywhere) {
  for (const int64_t size : {1, 7, 16, 17, 1000}) {
    for (const int64_t place : {int64_t{0}, size / 2, size - 1}) {
      at::Tensor logits = at::zeros({1, size});
      logits[0][place] = 2;
      EXPECT_EQ(draw_one(logits, 0.5, config(0)).id, place);
    }
  }
}

TEST(Sampler, FrequenciesFollowSoftmax) {
  EXPECT_LT(chi_square(logits_of(kProbabilities), kProbabilities, config(1), 20000), kChi5);
}

TEST(Sampler, FrequenciesFollowTemperature) {
  std::vector<double> wanted;
  for (const double p : kProbabilities) wanted.push_back(std::pow(p, 1 / 0.6));
  const double sum = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  for (double& p : wanted) p /= sum;
  EXPECT_LT(chi_square(logits_of(kProbabilities), wanted, config(0.6), 20000), kChi5);
}

TEST(Sampler, TopKKeepsMostProbable) {
  EXPECT_LT(chi_square(logits_of(kProbabilities), {0, 0.3 / 0.77, 0, 0.25 / 0.77, 0.22 / 0.77, 0}, config(1, 3), 20000),
            kChi2);
}

TEST(Sampler, TopPKeepsNucleus) {
  // 0.3 + 0.25 reaches 0.5, without the second it would not.
  EXPECT_LT(chi_square(logits_of(kProbabilities), {0, 0.3 / 0.55, 0, 0.25 / 0.55, 0, 0}, config(1, 0, 0.5), 20000),
            kChi1);
}

TEST(Sampler, TopPCountsMassOfTopK) {
  // Of the three kept (0.77), 0.55 reaches 70 %; of all six it would not.
  EXPECT_LT(chi_square(logits_of(kProbabilities), {0, 0.3 / 0.55, 0, 0.25 / 0.55, 0, 0}, config(1, 3, 0.7), 20000),
            kChi1);
}

TEST(Sampler, TinyTopPIsGreedy) {
  for (const double uniform : {0.0, 0.5, 0.999999}) {
    EXPECT_EQ(draw_one(logits_of(kProbabilities), uniform, config(1, 0, 1e-6)).id, 1);
  }
}

TEST(Sampler, TopKOfEqualTokensKeepsLowIds) {
  EXPECT_LT(chi_square(at::zeros({1, 40}), std::vector<double>{0.5, 0.5}, config(1, 2), 2000), kChi1);
}

TEST(Sampler, TopKBeyondVocabularyKeepsAll) {
  EXPECT_LT(chi_square(logits_of(kProbabilities), kProbabilities, config(1, 100), 20000), kChi5);
}

TEST(Sampler, UniformIsLookedUpInCumulativeMass) {
  at::manual_seed(3);
  const at::Tensor logits = at::randn({1, 5000}) * 3;
  const at::Tensor cumulative = logits.to(at::kDouble).softmax(-1).cumsum(-1)[0];
  const auto* mass = cumulative.const_data_ptr<double>();
  for (int step = 0; step < 500; ++step) {
    const double uniform = (step + 0.5) / 500;
    const int64_t id = draw_one(logits, uniform, config(1)).id;
    EXPECT_LT(uniform, mass[id] + 1e-6);
    EXPECT_GE(uniform, (id == 0 ? 0 : mass[id - 1]) - 1e-6);
  }
}

TEST(Sampler, NucleusEqualsSortedPrefix) {
  at::manual_seed(4);
  for (const double spread : {0.0, 0.5, 3.0, 12.0}) {
    const at::Tensor logits = at::randn({1, 3000}) * spread;
    const auto [sorted, order] = logits.to(at::kDouble).softmax(-1)[0].sort(/*stable=*/true, -1, /*descending=*/true);
    const auto* mass = sorted.const_data_ptr<double>();
    for (const double top_p : {0.1003, 0.5003, 0.9003, 0.99903}) {
      double kept = 0;
      int64_t last = -1;
      while (kept < top_p) kept += mass[++last];
      EXPECT_EQ(draw_one(logits, 1 - 1e-12, config(1, 0, top_p)).id, order[last].item<int64_t>())
          << spread << " " << top_p;
      EXPECT_EQ(draw_one(logits, 0, config(1, 0, top_p)).id, order[0].item<int64_t>()) << spread << " " << top_p;
    }
  }
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  const float never = -INFINITY;
  const at::Tensor logits = at::tensor({never, never, 0.0f, never, 0.0f, never}).unsqueeze(0);
  for (const double uniform : {0.0, 0.49, 0.51, 1 - 1e-16}) {
    for (const SamplingConfig& sampling : {config(1), config(1, 5), config(1, 0, 0.99)}) {
      const Draw draw = draw_one(logits, uniform, sampling);
      EXPECT_EQ(draw.id, uniform < 0.5 ? 2 : 4);
      EXPECT_NEAR(draw.log_prob, -std::log(2.0), 1e-6);
    }
  }
}

TEST(Sampler, LogProbIsOfTheFullSoftmax) {
  at::manual_seed(5);
  const at::Tensor logits = at::randn({3, 700});
  for (const SamplingConfig& sampling : {config(0.7), config(0.7, 5), config(0.7, 0, 0.3)}) {
    const at::Tensor wanted = (logits.to(at::kDouble) / 0.7).log_softmax(-1);
    const std::vector<Draw> draws = draw_tokens(logits.clone(), {0, 1, 2}, {0.2, 0.5, 0.8}, sampling);
    for (int64_t row = 0; row < 3; ++row) {
      const Draw& draw = draws[static_cast<size_t>(row)];
      EXPECT_NEAR(draw.log_prob, wanted[row][draw.id].item<double>(), 1e-5);
    }
  }
}

TEST(Sampler, RowsMayBeSharedAndDoNotMix) {
  at::manual_seed(6);
  const at::Tensor logits = at::randn({3, 300});
  const std::vector<int64_t> rows{2, 0, 2, 1};
  const std::vector<double> uniforms{0.3, 0.6, 0.9, 0.1};
  const std::vector<Draw> draws = draw_tokens(logits.clone(), rows, uniforms, config(1));
  for (size_t i = 0; i < rows.size(); ++i) {
    const Draw alone = draw_one(logits.slice(0, rows[i], rows[i] + 1), uniforms[i], config(1));
    EXPECT_EQ(draws[i].id, alone.id);
    EXPECT_EQ(draws[i].log_prob, alone.log_prob);
  }
}

TEST(Sampler, NonFiniteRowIsMarked) {
  at::Tensor logits = at::zeros({3, 40});
  logits[0][30] = NAN;
  logits[1][30] = INFINITY;
  for (const SamplingConfig& sampling : {config(0), config(1), config(1, 5)}) {
    const std::vector<Draw> draws = draw_tokens(logits.clone(), {0, 1, 2}, {0.5, 0.5, 0.5}, sampling);
    EXPECT_EQ(draws[0].id, -1);
    EXPECT_EQ(draws[1].id, -1);
    EXPECT_GE(draws[2].id, 0);
  }
}

}  // namespace
}  // namespace rqat::generate
