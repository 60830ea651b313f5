// Contract of every quantizer of the registry, and the ranges that int_affine finds.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quant/quant_support.h"
#include "rqat/base/error.h"
#include "rqat/ops/quantize.h"

namespace rqat::quant {
namespace {

at::Tensor random_weight(int64_t rows = 12, int64_t columns = 40) {
  at::manual_seed(3);
  at::Tensor weight = at::randn({rows, columns}) * 0.05;
  weight[0] = 0;                       // no range at all
  weight[1] = weight[1].abs() + 0.01;  // zero outside the range of the values
  weight[2] = -weight[2].abs() - 0.01;
  weight[3][5] = 3.0;  // an outlier
  weight.slice(1, 7, 8).zero_();
  return weight;
}

class QuantizerContract : public testing::TestWithParam<std::string> {
 protected:
  template <class Check>
  void for_each_case(const Check& check) {
    const auto quantizer = quantizers().make(GetParam());
    const at::Tensor weight = random_weight();
    for (const QuantFormat& format : all_formats()) {
      for (const char* method : {"minmax", "mse"}) {
        SCOPED_TRACE(format.text() + " " + format.scale_dtype + " " + method);
        SearchOptions options;
        options.method = method;
        check(*quantizer, weight, format, quantizer->search(weight, format, options));
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Registry, QuantizerContract, testing::ValuesIn(quantizers().names()));

TEST_P(QuantizerContract, ParametersAreUsable) {
  for_each_case([](const Quantizer&, const at::Tensor& weight, const QuantFormat& format, const QuantParams& params) {
    ASSERT_EQ(params.scale.sizes(), at::IntArrayRef({weight.size(0), format.num_groups(weight.size(1))}));
    ASSERT_TRUE((params.scale > 0).all().item<bool>());
    ASSERT_TRUE(at::equal(round_scale(params.scale, format.scale_dtype), params.scale));
    ASSERT_EQ(params.zero_point.scalar_type(), at::kByte);
    ASSERT_LE(params.zero_point.max().item<int64_t>(), format.max_code());
    if (format.symmetric) {
      ASSERT_TRUE((params.zero_point == (1 << (format.num_bits - 1))).all().item<bool>());
    }
  });
}

TEST_P(QuantizerContract, ZeroStaysZero) {
  for_each_case(
      [](const Quantizer& quantizer, const at::Tensor& weight, const QuantFormat& format, const QuantParams& params) {
        const at::Tensor w_hat = quantizer.fake_quant(weight, params, format, at::kFloat);
        ASSERT_EQ(w_hat.masked_select(weight == 0).abs().max().item<float>(), 0.0F);
      });
}

TEST_P(QuantizerContract, IsIdempotentInEveryDtype) {
  for_each_case(
      [](const Quantizer& quantizer, const at::Tensor& weight, const QuantFormat& format, const QuantParams& params) {
        const at::Tensor codes = quantizer.quantize(weight, params, format);
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          const at::Tensor w_hat = quantizer.fake_quant(weight, params, format, dtype);
          ASSERT_TRUE(at::equal(w_hat, quantizer.dequantize(codes, params, format, dtype)));
          // bf16 keeps 8 bits of s * (q - z), whose rounding may cross into the next of 256 codes but not of 16.
          if (dtype == at::kBFloat16 && format.num_bits == 8) continue;
          ASSERT_TRUE(at::equal(quantizer.quantize(w_hat.to(at::kFloat), params, format), codes));
        }
      });
}

TEST_P(QuantizerContract, ErrorIsAtMostHalfAStepInsideTheRange) {
  for_each_case(
      [](const Quantizer& quantizer, const at::Tensor& weight, const QuantFormat& format, const QuantParams& params) {
        const at::Tensor scale = spread(params.scale, format, 40).to(at::kDouble),
                         zero = spread(params.zero_point, format, 40).to(at::kDouble);
        const at::Tensor w = weight.to(at::kDouble);
        const at::Tensor error = (quantizer.fake_quant(weight, params, format, at::kFloat).to(at::kDouble) - w).abs();
        const at::Tensor inside = at::logical_and(w >= -zero * scale, w <= (format.max_code() - zero) * scale);
        ASSERT_TRUE((at::logical_or(error <= scale * (0.5 + 1e-6), inside.logical_not())).all().item<bool>());
        // Outside, the nearest end of the range is taken.
        const at::Tensor end = at::where(w < 0, -zero * scale, (format.max_code() - zero) * scale);
        ASSERT_TRUE((at::logical_or(error <= (w - end).abs() + 1e-7, inside)).all().item<bool>());
      });
}

TEST_P(QuantizerContract, CodesSurvivePacking) {
  for_each_case(
      [](const Quantizer& quantizer, const at::Tensor& weight, const QuantFormat& format, const QuantParams& params) {
        const at::Tensor codes = quantizer.quantize(weight, params, format);
        ASSERT_LE(codes.max().item<int64_t>(), format.max_code());
        ASSERT_TRUE(at::equal(ops::unpack_codes(ops::pack_codes(codes, format.num_bits), format.num_bits, 40), codes));
      });
}

// min-max by its formula, in fp64 and per group.
TEST(IntAffineTest, MinMaxRangeFollowsTheFormula) {
  const at::Tensor weight = random_weight();
  const QuantFormat format = make_format(3, false, 16);
  const QuantParams params = quantizers().make("int_affine")->search(weight, format, {});
  for (int64_t n = 0; n < weight.size(0); ++n) {
    for (int64_t g = 0; g < 3; ++g) {
      double low = 0, high = 0;
      for (int64_t k = g * 16; k < std::min<int64_t>(g * 16 + 16, 40); ++k) {
        const double w = weight[n][k].item<double>();
        low = std::min(low, w);
        high = std::max(high, w);
      }
      const double scale = params.scale[n][g].item<double>();
      EXPECT_NEAR(scale, std::max((high - low) / 7, std::ldexp(1.0, -14)), scale / 1024);
      EXPECT_EQ(params.zero_point[n][g].item<int64_t>(), std::llround(-low / scale)) << n << " " << g;
    }
  }
}

TEST(IntAffineTest, SymmetricRangeHoldsBothEnds) {
  const at::Tensor weight = at::tensor({-0.8F, 0.1F, 0.2F, 0.7F}, at::kFloat).reshape({1, 4});
  const QuantFormat format = make_format(4, true, -1);
  const QuantParams params = quantizers().make("int_affine")->search(weight, format, {});
  EXPECT_NEAR(params.scale.item<double>(), 0.1, 1e-4);  // max(0.8 / 8, 0.7 / 7)
  EXPECT_TRUE(at::equal(quantizers().make("int_affine")->quantize(weight, params, format),
                        at::tensor({0, 9, 10, 15}, at::kByte).reshape({1, 4})));
}

/// sum importance |w_hat - w|^2.4 of one group for a range shrunk to `keep`, all in plain fp64 but the stored scale.
double group_error(const at::Tensor& group, double keep, const QuantFormat& format, const at::Tensor& importance) {
  double low = 0, high = 0;
  for (int64_t k = 0; k < group.numel(); ++k) {
    low = std::min(low, group[k].item<double>());
    high = std::max(high, group[k].item<double>());
  }
  low *= keep;
  high *= keep;
  const double max_code = static_cast<double>(format.max_code()),
               middle = std::ldexp(1.0, static_cast<int>(format.num_bits) - 1);
  const double wanted = format.symmetric ? std::max(-low / middle, high / (middle - 1)) : (high - low) / max_code;
  const double scale =
      static_cast<double>(static_cast<float>(c10::Half(std::max(static_cast<float>(wanted), 0x1p-14F))));
  const double zero = format.symmetric ? middle : std::nearbyint(-low / scale);
  double error = 0;
  for (int64_t k = 0; k < group.numel(); ++k) {
    const double w = group[k].item<double>();
    const double code = std::min(std::max(std::nearbyint(w / scale) + zero, 0.0), max_code);
    error += (importance.defined() ? importance[k].item<double>() : 1.0) *
             std::pow(std::fabs(scale * (code - zero) - w), 2.4);
  }
  return error;
}

TEST(IntAffineTest, ClipSearchFindsTheBestOfItsGrid) {
  const at::Tensor weight = random_weight(4, 40);
  const at::Tensor importance = at::rand({40}) + 0.1;
  for (const bool symmetric : {false, true}) {
    for (const bool weighted : {false, true}) {
      const QuantFormat format = make_format(2, symmetric, 16);
      SearchOptions options;
      options.method = "mse";
      if (weighted) options.importance = importance;
      const auto quantizer = quantizers().make("int_affine");
      const QuantParams params = quantizer->search(weight, format, options);
      const at::Tensor w_hat = quantizer->fake_quant(weight, params, format, at::kFloat);
      for (int64_t n = 0; n < 4; ++n) {
        for (int64_t g = 0; g < 3; ++g) {
          const int64_t begin = g * 16, end = std::min<int64_t>(begin + 16, 40);
          const at::Tensor group = weight[n].slice(0, begin, end);
          const at::Tensor of_group = weighted ? importance.slice(0, begin, end) : at::Tensor();
          double best = 1e30;
          for (int i = 0; i < 80; ++i) best = std::min(best, group_error(group, 1 - i / 100.0, format, of_group));
          at::Tensor error = (w_hat[n].slice(0, begin, end) - group).to(at::kDouble).abs().pow(2.4);
          if (weighted) error = error * of_group;
          const double found = error.sum().item<double>();
          EXPECT_LE(found, best * (1 + 1e-4) + 1e-20) << n << " " << g;
          EXPECT_GE(found, best * (1 - 1e-4) - 1e-20) << n << " " << g;
        }
      }
    }
  }
}

TEST(IntAffineTest, ClipSearchClipsAnOutlier) {
  const at::Tensor weight = random_weight();
  const QuantFormat format = make_format(2, false, 16);
  SearchOptions options;
  options.method = "mse";
  const auto quantizer = quantizers().make("int_affine");
  EXPECT_LT(quantizer->search(weight * 1.0, format, options).scale.sum().item<float>(),
            quantizer->search(weight, format, {}).scale.sum().item<float>());
}

TEST(IntAffineTest, BadSearchOptionsAreRefused) {
  const auto quantizer = quantizers().make("int_affine");
  SearchOptions options;
  options.method = "magic";
  try {
    quantizer->search(random_weight(), make_format(2, false, 16), options);
    FAIL();
  } catch (const base::ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("magic"), std::string::npos);
  }
  options.method = "mse";
  for (const double power : {0.0, -1.0, 5.0}) {
    options.power = power;
    EXPECT_THROW(quantizer->search(random_weight(), make_format(2, false, 16), options), base::ConfigError);
  }
}

}  // namespace
}  // namespace rqat::quant
