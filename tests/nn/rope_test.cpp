#include "rqat/nn/rope.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rqat/base/error.h"

namespace rqat::nn {
namespace {

std::vector<double> inverse_of(const RopeParameters& parameters, int64_t head_dim, int64_t context_length) {
  const at::Tensor inverse = rope_frequencies(parameters, head_dim, context_length, at::kCPU).inverse;
  return {inverse.const_data_ptr<float>(), inverse.const_data_ptr<float>() + inverse.numel()};
}

TEST(Rope, TablesFollowTheFormula) {
  const at::Tensor positions = at::tensor({0, 1, 7, 1000}, at::kLong);
  const auto [cos, sin] = rope_tables(positions, rope_frequencies({}, 8, 2048, at::kCPU));
  ASSERT_EQ(cos.sizes(), (at::IntArrayRef{4, 4}));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = positions[t].item<double>() * std::pow(10000.0, -2.0 * static_cast<double>(i) / 8);
      EXPECT_NEAR(cos[t][i].item<double>(), std::cos(angle), 1e-4);
      EXPECT_NEAR(sin[t][i].item<double>(), std::sin(angle), 1e-4);
    }
  }
}

TEST(Rope, LinearScalingDividesAllFrequencies) {
  const std::vector<double> plain = inverse_of({.theta = 500}, 16, 2048);
  const std::vector<double> scaled = inverse_of({.scaling = RopeScaling::kLinear, .theta = 500, .factor = 8}, 16, 2048);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled[i], plain[i] / 8, 1e-6 * plain[i]);
}

TEST(Rope, Llama3DividesLongWavesAndBlendsThoseBetween) {
  const RopeParameters parameters{.scaling = RopeScaling::kLlama3,
                                  .theta = 5e5,
                                  .factor = 8,
                                  .original_length = 8192,
                                  .low_frequency_factor = 1,
                                  .high_frequency_factor = 4};
  const std::vector<double> scaled = inverse_of(parameters, 128, 131072);
  int kept = 0, divided = 0, blended = 0;
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double plain = std::pow(5e5, -2.0 * static_cast<double>(i) / 128), wavelength = 2 * M_PI / plain;
    const double part = (8192 / wavelength - 1) / 3;
    const double expected = wavelength < 2048   ? plain
                            : wavelength > 8192 ? plain / 8
                                                : (1 - part) * plain / 8 + part * plain;
    EXPECT_NEAR(scaled[i], expected, 1e-5 * expected) << i;
    ++(wavelength < 2048 ? kept : wavelength > 8192 ? divided : blended);
  }
  EXPECT_TRUE(kept > 20 && divided > 20 && blended > 3) << kept << " " << divided << " " << blended;
}

TEST(Rope, YarnBlendsByDimension) {
  const RopeParameters parameters{.scaling = RopeScaling::kYarn, .theta = 1e4, .factor = 4, .original_length = 32768};
  const std::vector<double> scaled = inverse_of(parameters, 64, 131072);
  const auto dimension = [](double turns) { return 64 * std::log(32768 / (turns * 2 * M_PI)) / (2 * std::log(1e4)); };
  const double low = std::floor(dimension(32)), high = std::ceil(dimension(1));
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double plain = std::pow(1e4, -2.0 * static_cast<double>(i) / 64);
    const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
    EXPECT_NEAR(scaled[i], plain * (1 - ramp) + plain / 4 * ramp, 1e-5 * plain) << i;
  }
  EXPECT_NEAR(rope_frequencies(parameters, 64, 131072, at::kCPU).attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  // Without `factor` the lengths say it; a given attention factor wins.
  RopeParameters other = parameters;
  other.factor = 0;
  EXPECT_EQ(inverse_of(other, 64, 131072), scaled);
  other.attention_factor = 1.5;
  EXPECT_EQ(rope_frequencies(other, 64, 131072, at::kCPU).attention_factor, 1.5);
  other = parameters;
  other.mscale = 2;
  other.mscale_all_dim = 1;
  EXPECT_NEAR(rope_frequencies(other, 64, 131072, at::kCPU).attention_factor,
              (0.2 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1), 1e-12);
}

TEST(Rope, LongRopePicksFactorsByToken) {
  const RopeParameters parameters{.scaling = RopeScaling::kLongRope,
                                  .theta = 100,
                                  .original_length = 16,
                                  .short_factor = {1, 2},
                                  .long_factor = {3, 5}};
  const RopeFrequencies frequencies = rope_frequencies(parameters, 4, 64, at::kCPU);
  const double attention = std::sqrt(1 + std::log(4.0) / std::log(16.0));
  EXPECT_NEAR(frequencies.attention_factor, attention, 1e-12);
  const at::Tensor positions = at::tensor({3, 3}, at::kLong), is_long = at::tensor({0, 1}, at::kLong).to(at::kBool);
  const auto [cos, sin] = rope_tables(positions, frequencies, is_long);
  const double expected[2][2] = {{3.0, 0.15}, {1.0, 0.06}};  // 3 / factor / 100^(0, 1/2)
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t i = 0; i < 2; ++i) {
      EXPECT_NEAR(cos[t][i].item<double>(), attention * std::cos(expected[t][i]), 1e-6);
      EXPECT_NEAR(sin[t][i].item<double>(), attention * std::sin(expected[t][i]), 1e-6);
    }
  }
  EXPECT_TRUE(rope_tables(positions, frequencies).first[1].equal(cos[0]));
}

TEST(Rope, PartOfTheHead) {
  EXPECT_EQ(inverse_of({.rotated_part = 0.75}, 16, 64).size(), 6u);
  EXPECT_NEAR(inverse_of({.theta = 100, .rotated_part = 0.5}, 16, 64)[2], std::pow(100.0, -4.0 / 8), 1e-7);
}

TEST(Rope, NumberOfFactorsIsChecked) {
  try {
    rope_frequencies({.scaling = RopeScaling::kLongRope, .short_factor = {1, 2}, .long_factor = {1}}, 4, 64, at::kCPU);
    FAIL();
  } catch (const base::ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("long_factor has 1 values, expected 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace rqat::nn
