#include "rqat/ops/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "composed.h"
#include "ops/close.h"

namespace rqat::ops {
namespace {

struct Sizes {
  int64_t m, n, k;
};
void PrintTo(const Sizes& s, std::ostream* out) { *out << s.m << "x" << s.n << "x" << s.k; }

class Products : public testing::TestWithParam<std::tuple<Sizes, at::ScalarType>> {
 protected:
  Products() { at::manual_seed(1); }
  Sizes sizes() const { return std::get<0>(GetParam()); }
  at::Tensor random(int64_t rows, int64_t columns) const {
    return at::randn({rows, columns}).to(std::get<1>(GetParam()));
  }
  // Products of bf16 are exact in fp32; what is left is the order of the sums.
  double tolerance() const { return 2e-6 * std::max<int64_t>(16, std::max(sizes().k, sizes().m)) / 16; }
};
INSTANTIATE_TEST_SUITE_P(Sizes, Products,
                         testing::Combine(testing::Values(Sizes{1, 1, 1}, Sizes{3, 7, 5}, Sizes{64, 64, 64},
                                                          Sizes{65, 130, 33}, Sizes{0, 5, 4}, Sizes{17, 192, 576},
                                                          Sizes{1100, 100, 70}),
                                          testing::Values(at::kBFloat16, at::kFloat)));

at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble); }

TEST_P(Products, MatmulEqualsTheProductInDouble) {
  const at::Tensor x = random(sizes().m, sizes().k), weight = random(sizes().n, sizes().k);
  const PreparedWeight prepared = prepare_weight(weight);
  const at::Tensor expected = at::matmul(wide(x), wide(weight).t());
  const at::Tensor result = matmul_nt_float(x, prepared);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_TRUE(test::close(result, expected, tolerance()));
  EXPECT_TRUE(test::close(composed::matmul_nt_float(x, weight), expected, tolerance()));
  const int64_t begin = sizes().n / 3, end = sizes().n - sizes().n / 4;
  EXPECT_TRUE(test::close(matmul_nt_float(x, prepared, begin, end), expected.slice(1, begin, end), tolerance()));
}

TEST_P(Products, AccumulateEqualsTheProductInDouble) {
  const at::Tensor a = random(sizes().m, sizes().n), b = random(sizes().m, sizes().k);
  at::Tensor sum = at::randn({sizes().n, sizes().k});
  at::Tensor strided = sum.t().clone(at::MemoryFormat::Contiguous).t();
  const at::Tensor expected = wide(sum) + at::matmul(wide(a).t(), wide(b));
  accumulate_tn(sum, a, b);
  EXPECT_TRUE(test::close(sum, expected, tolerance()));
  accumulate_tn(strided, a, b);
  EXPECT_TRUE(test::close(strided, expected, tolerance()));
}

TEST_P(Products, LinearEqualsTheProductInDouble) {
  const at::Tensor x = random(sizes().m, sizes().k), weight = random(sizes().n, sizes().k);
  const at::Tensor bias = random(1, sizes().n).squeeze(0);
  const at::Tensor expected = at::matmul(wide(x), wide(weight).t());
  const double rounding = x.scalar_type() == at::kBFloat16 ? 0.01 : tolerance();
  EXPECT_TRUE(test::close(ops::linear(x, weight, {}), expected, rounding));
  const at::Tensor result = ops::linear(x.unsqueeze(0), weight, bias);
  EXPECT_EQ(result.dim(), 3);
  EXPECT_EQ(result.scalar_type(), x.scalar_type());
  EXPECT_TRUE(test::close(result.squeeze(0), expected + wide(bias), rounding));
}

TEST(Linear, EveryFewRowsPathAgreesWithManyRows) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({208, 96}).to(at::kBFloat16);
  for (const int64_t rows : {1, 2, 15, 16, 17, 33, 63, 64, 65}) {
    const at::Tensor x = at::randn({rows, 96}).to(at::kBFloat16);
    EXPECT_TRUE(test::close(ops::linear(x, weight, {}), at::matmul(wide(x), wide(weight).t()), 0.004)) << rows;
  }
}

TEST(Linear, ThreadsDoNotMatter) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({150, 576}).to(at::kBFloat16), weight = at::randn({700, 576}).to(at::kBFloat16);
  const at::Tensor dy = at::randn({150, 700}).to(at::kBFloat16);
  const PreparedWeight prepared = prepare_weight(weight);
  EXPECT_TRUE(test::same_for_any_threads([&] { return matmul_nt_float(x, prepared); }));
  EXPECT_TRUE(test::same_for_any_threads([&] { return ops::linear(x.slice(0, 0, 9), weight, {}); }));
  EXPECT_TRUE(test::same_for_any_threads([&] { return ops::linear(x, weight, {}); }));
  EXPECT_TRUE(test::same_for_any_threads([&] {
    at::Tensor sum = at::ones({700, 576});
    accumulate_tn(sum, dy, x);
    return sum;
  }));
}

TEST(Linear, WrongArgumentsAreNamed) {
  const at::Tensor x = at::zeros({2, 4}), weight = at::zeros({3, 5}), half = at::zeros({3, 4}, at::kBFloat16);
  const PreparedWeight prepared = prepare_weight(at::zeros({3, 4}));
  at::Tensor sum = at::zeros({3, 3});
  EXPECT_EQ(test::value_error([&] { matmul_nt_float(x, prepare_weight(weight)); }),
            "[matmul_nt_float] expected x [M, 5] for weight [3, 5], got [2, 4]");
  EXPECT_EQ(test::value_error([&] { matmul_nt_float(x, prepare_weight(half)); }),
            "[matmul_nt_float] expected x and weight both bfloat16 or both float32, got Float and BFloat16");
  EXPECT_EQ(test::value_error([&] { matmul_nt_float(x, prepared, 2, 5); }),
            "[matmul_nt_float] expected 0 <= begin <= end <= 3, got 2 and 5");
  EXPECT_EQ(test::value_error([&] { prepare_weight(at::zeros({3})); }),
            "[prepare_weight] expected weight with 2 dimensions, got shape [3]");
  EXPECT_EQ(test::value_error([&] { accumulate_tn(sum, x, weight); }),
            "[accumulate_tn] expected a [M, N] and b [M, K] with one M, got [2, 4] and [3, 5]");
  EXPECT_EQ(test::value_error([&] { accumulate_tn(sum, x, x); }),
            "[accumulate_tn] expected accumulator of shape [4, 4], got [3, 3]");
  EXPECT_EQ(test::value_error([&] { ops::linear(x, weight, {}); }),
            "[linear] expected x [..., 5] for weight [3, 5], got [2, 4]");
  EXPECT_EQ(test::value_error([&] {
              ops::linear(x, at::zeros({3, 4}), at::zeros({2}));
            }),
            "[linear] expected bias of shape [3], got [2]");
}

}  // namespace
}  // namespace rqat::ops
