#include "rqat/ops/quantize.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/fake_quant.h"
#include "cpu/level.h"

namespace rqat::ops {
namespace {

at::Tensor floats(std::vector<float> values, at::IntArrayRef shape) {
  return at::tensor(values, at::kFloat).reshape(shape);
}
at::Tensor bytes(std::vector<int> values, at::IntArrayRef shape) {
  return at::tensor(values, at::kInt).to(at::kByte).reshape(shape);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0;
}

// The rule once more in fp64: the fp32 quotient and product are the rounded exact ones, 53 bits being more than 2 *
// 24 + 2.
struct Oracle {
  at::Tensor codes, values;
};
Oracle oracle(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero_point, int num_bits,
              int64_t group_size) {
  Oracle result{at::empty(weight.sizes(), at::kByte), at::empty(weight.sizes(), at::kFloat)};
  const auto w = weight.accessor<float, 2>();
  const auto s = scale.accessor<float, 2>();
  const auto z = zero_point.accessor<uint8_t, 2>();
  auto codes = result.codes.accessor<uint8_t, 2>();
  auto values = result.values.accessor<float, 2>();
  const int64_t max_code = (int64_t(1) << num_bits) - 1;
  for (int64_t n = 0; n < weight.size(0); ++n)
    for (int64_t k = 0; k < weight.size(1); ++k) {
      const int64_t g = k / group_size;
      const double ratio = double(float(double(w[n][k]) / double(s[n][g])));
      double rounded = std::floor(ratio);
      const double rest = ratio - rounded;
      if (rest > 0.5 || (rest == 0.5 && std::fmod(rounded, 2.0) != 0.0)) rounded += 1.0;
      double code = rounded + double(z[n][g]);
      if (code < 0) code = 0;
      if (code > double(max_code)) code = double(max_code);
      codes[n][k] = uint8_t(code);
      values[n][k] = float(double(s[n][g]) * (code - double(z[n][g])));
    }
  return result;
}

struct Problem {
  at::Tensor weight, scale, zero_point;
};

// Random values, of which every third is an exact tie or an exact level, some far outside.
Problem make_problem(int64_t rows, int64_t columns, int num_bits, int64_t group_size, int64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  const int64_t groups = (columns + group_size - 1) / group_size, levels = int64_t(1) << num_bits;
  Problem problem;
  problem.scale = (at::rand({rows, groups}, generator, at::kFloat) * 0.2 + 1e-3).to(at::kHalf).to(at::kFloat);
  problem.zero_point = at::randint(0, levels, {rows, groups}, generator, at::kLong).to(at::kByte);
  const at::Tensor wide = problem.scale.repeat_interleave(group_size, 1).slice(1, 0, columns);
  const at::Tensor random = at::randn({rows, columns}, generator, at::kFloat) * double(levels);
  const at::Tensor halves = at::randint(-4 * levels, 4 * levels, {rows, columns}, generator, at::kFloat) / 2;
  const at::Tensor kind = at::randint(0, 3, {rows, columns}, generator, at::kLong);
  problem.weight = (at::where(kind == 0, halves, random) * wide).contiguous();
  problem.weight.view(-1)[0] = 1e30f;
  problem.weight.view(-1)[1] = -1e30f;
  return problem;
}

TEST(QuantizeTest, HandValues) {
  // scale 0.5, zero point 1, 2 bits: codes of 0 1 2 3 stand for -0.5 0 0.5 1. Ratios with .5 are exact ties.
  const at::Tensor weight = floats({0.25f, -0.25f, 0.75f, -0.75f, 1.25f, 0.2f, 100.0f, -100.0f, -0.0f}, {1, 9});
  const at::Tensor scale = floats({0.5f}, {1, 1}), zero_point = bytes({1}, {1, 1});
  // ratio:     0.5 -> 0, -0.5 -> 0, 1.5 -> 2, -1.5 -> -2, 2.5 -> 2, 0.4 -> 0, clamp, clamp, 0
  const at::Tensor expected = bytes({1, 1, 3, 0, 3, 1, 3, 0, 1}, {1, 9});
  EXPECT_TRUE(same_bits(quantize(weight, scale, zero_point, 2, 9), expected));
  const at::Tensor values = floats({0, 0, 1, -0.5f, 1, 0, 1, -0.5f, 0}, {1, 9});
  EXPECT_TRUE(at::equal(dequantize(expected, scale, zero_point, 9, at::kFloat), values));
  EXPECT_TRUE(at::equal(fake_quant(weight, scale, zero_point, 2, 9, at::kFloat), values));
  constexpr int64_t kWholeRow = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(same_bits(quantize(weight, scale, zero_point, 2, kWholeRow), expected));
}

TEST(QuantizeTest, ZeroPointAtTheEdgesAndShortLastGroup) {
  // Groups of 2 over 5 columns: zero points 0 (no negatives), 3 (no positives), 1.
  const at::Tensor weight = floats({1, -1, 1, -1, 1}, {1, 5});
  const at::Tensor scale = floats({0.5f, 0.5f, 0.25f}, {1, 3}), zero_point = bytes({0, 3, 1}, {1, 3});
  const at::Tensor codes = quantize(weight, scale, zero_point, 2, 2);
  EXPECT_TRUE(same_bits(codes, bytes({2, 0, 3, 1, 3}, {1, 5})));
  EXPECT_TRUE(at::equal(dequantize(codes, scale, zero_point, 2, at::kFloat), floats({1, 0, 0, -1, 0.5f}, {1, 5})));
}

TEST(QuantizeTest, DivisionIsTrueDivision) {
  // w = 1.5 s or 2.5 s exactly, a tie to code 2, where w * (1 / s) falls on the wrong side of the tie.
  int found = 0;
  for (int i = 1; i < 2048; ++i)
    for (const float ratio : {1.5f, 2.5f}) {
      const float scale = float(i) / 1024.0f, weight = ratio * scale;
      if (std::nearbyint(weight * (1.0f / scale)) == 2.0f) continue;
      ++found;
      const at::Tensor codes = quantize(floats({weight}, {1, 1}), floats({scale}, {1, 1}), bytes({0}, {1, 1}), 2, 1);
      ASSERT_EQ(codes.item<uint8_t>(), 2) << scale;
    }
  EXPECT_GT(found, 20);
}

struct Shape {
  int64_t rows, columns, group_size;
};

class QuantizeShapes : public testing::TestWithParam<std::tuple<Shape, int>> {};

TEST_P(QuantizeShapes, EqualsTheOracleInEveryBit) {
  const auto [shape, num_bits] = GetParam();
  const Problem p = make_problem(shape.rows, shape.columns, num_bits, shape.group_size, 7 + num_bits);
  const Oracle expected = oracle(p.weight, p.scale, p.zero_point, num_bits, shape.group_size);
  const at::Tensor codes = quantize(p.weight, p.scale, p.zero_point, num_bits, shape.group_size);
  EXPECT_TRUE(same_bits(codes, expected.codes));
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor values = dequantize(codes, p.scale, p.zero_point, shape.group_size, dtype);
    EXPECT_TRUE(at::equal(values, expected.values.to(dtype))) << dtype;
    EXPECT_TRUE(same_bits(fake_quant(p.weight, p.scale, p.zero_point, num_bits, shape.group_size, dtype), values))
        << dtype;
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizeShapes,
                         testing::Combine(testing::Values(Shape{5, 64, 64}, Shape{7, 130, 64}, Shape{3, 577, 128},
                                                          Shape{4, 33, 33}, Shape{9, 21, 5}, Shape{2, 17, 1},
                                                          Shape{6, 100, 1000}),
                                          testing::Values(1, 2, 3, 4, 8)));

std::vector<CpuKernels> levels_of_this_machine() {
  std::vector<CpuKernels> levels;
  for (const CpuKernels level : {CpuKernels::kAvx2, CpuKernels::kAvx512})
    if (level <= cpu::machine_kernels()) levels.push_back(level);
  return levels;
}

TEST(QuantizeLevelsTest, VectorKernelsEqualTheReferenceBitForBit) {
  const auto levels = levels_of_this_machine();
  if (levels.empty()) GTEST_SKIP() << "no AVX2 on this machine";
  const auto& reference = cpu::reference_fake_quant_kernels();
  constexpr int64_t kColumns = 1 << 20;
  for (const int num_bits : {2, 3, 4, 8})
    for (const int64_t group_size : {64, 37}) {
      const Problem p = make_problem(1, kColumns, num_bits, group_size, 100 + num_bits);
      const float* weight = p.weight.const_data_ptr<float>();
      const cpu::RowGrid grid{p.scale.const_data_ptr<float>(), p.zero_point.const_data_ptr<uint8_t>(), kColumns,
                              group_size, float((1 << num_bits) - 1)};
      at::Tensor expected = at::empty({kColumns}, at::kByte), codes = at::empty_like(expected);
      reference.quantize(grid, weight, expected.mutable_data_ptr<uint8_t>());
      for (const CpuKernels level : levels) {
        const auto& kernels = cpu::fake_quant_kernels(level);
        kernels.quantize(grid, weight, codes.mutable_data_ptr<uint8_t>());
        EXPECT_TRUE(same_bits(codes, expected)) << int(level) << " " << num_bits << " " << group_size;
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
          at::Tensor a = at::empty({kColumns}, dtype), b = at::empty_like(a), c = at::empty_like(a);
          reference.fake_quant(grid, weight, a.mutable_data_ptr(), dtype);
          kernels.fake_quant(grid, weight, b.mutable_data_ptr(), dtype);
          kernels.dequantize(grid, codes.const_data_ptr<uint8_t>(), c.mutable_data_ptr(), dtype);
          EXPECT_TRUE(same_bits(a, b)) << int(level) << " " << num_bits << " " << dtype;
          EXPECT_TRUE(same_bits(a, c)) << int(level) << " " << num_bits << " " << dtype;
        }
      }
    }
}

TEST(QuantizeLevelsTest, VectorBackwardEqualsTheReferenceBitForBit) {
  const auto levels = levels_of_this_machine();
  if (levels.empty()) GTEST_SKIP() << "no AVX2 on this machine";
  constexpr int64_t kColumns = 40007;
  for (const int64_t group_size : {64, 37, 8}) {
    const int64_t groups = (kColumns + group_size - 1) / group_size;
    const Problem p = make_problem(1, kColumns, 2, group_size, 3);
    const at::Tensor gradient = at::randn({kColumns}, at::detail::createCPUGenerator(4), at::kFloat);
    const cpu::RowGrid grid{p.scale.const_data_ptr<float>(), p.zero_point.const_data_ptr<uint8_t>(), kColumns,
                            group_size, 3.0f};
    const auto run = [&](const cpu::FakeQuantKernels& kernels, bool clip) {
      at::Tensor all = at::empty({kColumns + 2 * groups}, at::kFloat);
      float* out = all.mutable_data_ptr<float>();
      kernels.backward(grid, {gradient.const_data_ptr<float>(), p.weight.const_data_ptr<float>(), out, out + kColumns,
                              out + kColumns + groups, clip});
      return all;
    };
    for (const CpuKernels level : levels)
      for (const bool clip : {false, true})
        EXPECT_TRUE(
            same_bits(run(cpu::reference_fake_quant_kernels(), clip), run(cpu::fake_quant_kernels(level), clip)))
            << int(level) << " " << group_size << " " << clip;
  }
}

TEST(QuantizeLevelsTest, NaNGivesCodeZeroEverywhere) {
  at::Tensor weight = at::full({1, 40}, std::nanf(""), at::kFloat);
  const at::Tensor scale = floats({0.5f}, {1, 1}), zero_point = bytes({2}, {1, 1});
  const cpu::RowGrid grid{scale.const_data_ptr<float>(), zero_point.const_data_ptr<uint8_t>(), 40, 40, 3.0f};
  auto levels = levels_of_this_machine();
  levels.push_back(CpuKernels::kPortable);
  for (const CpuKernels level : levels) {
    at::Tensor codes = at::full({1, 40}, 9, at::kByte);
    cpu::fake_quant_kernels(level).quantize(grid, weight.const_data_ptr<float>(), codes.mutable_data_ptr<uint8_t>());
    EXPECT_EQ(codes.max().item<uint8_t>(), 0) << int(level);
  }
}

class BackwardTest : public testing::TestWithParam<bool> {};

TEST_P(BackwardTest, EqualsTheClosedFormInDouble) {
  const bool clip = GetParam();
  for (const int64_t group_size : {64, 10, 100}) {
    const Problem p = make_problem(6, 100, 3, group_size, 11);
    p.weight.view(-1)[0] = 3.0f;  // the far values would swamp the sums
    p.weight.view(-1)[1] = -3.0f;
    const at::Tensor gradient = at::randn({6, 100}, at::detail::createCPUGenerator(5), at::kFloat);
    const Oracle o = oracle(p.weight, p.scale, p.zero_point, 3, group_size);
    const auto widen = [&](const at::Tensor& t) {
      return t.to(at::kDouble).repeat_interleave(group_size, 1).slice(1, 0, 100);
    };
    const at::Tensor s = widen(p.scale), z = widen(p.zero_point), q = o.codes.to(at::kDouble);
    const at::Tensor ratio = (p.weight.to(at::kDouble) / s).to(at::kFloat).to(at::kDouble);
    const at::Tensor raw = ratio.round() + z, inside = (raw >= 0) & (raw <= 7);
    const at::Tensor G = gradient.to(at::kDouble), zero = at::zeros_like(G);
    const at::Tensor dw = clip ? at::where(inside, G, zero) : G;
    const at::Tensor ds = G * at::where(inside, (q - z) - ratio, q - z), dz = at::where(inside, zero, -s * G);
    const auto group_sums = [&](const at::Tensor& t) {
      std::vector<at::Tensor> sums;
      for (int64_t k = 0; k < 100; k += group_size)
        sums.push_back(t.slice(1, k, std::min<int64_t>(k + group_size, 100)).sum(1));
      return at::stack(sums, 1);
    };
    const auto result =
        fake_quant_backward(gradient.clone(), p.weight, p.scale, p.zero_point, 3, group_size, clip, true, true, false);
    ASSERT_GT(inside.sum().item<int64_t>(), 50);
    ASSERT_LT(inside.sum().item<int64_t>(), 550);
    EXPECT_TRUE(at::equal(result.weight, dw.to(at::kFloat)));
    EXPECT_TRUE(at::allclose(result.scale.to(at::kDouble), group_sums(ds), 1e-5, 1e-4));
    EXPECT_TRUE(at::allclose(result.zero_point.to(at::kDouble), group_sums(dz), 1e-5, 1e-5));
  }
}

TEST_P(BackwardTest, InPlaceWritesOverTheGradientAndSkipsWhatIsNotAskedFor) {
  const bool clip = GetParam();
  const Problem p = make_problem(3, 70, 2, 32, 21);
  at::Tensor gradient = at::randn({3, 70}, at::detail::createCPUGenerator(6), at::kFloat);
  const auto expected = fake_quant_backward(gradient, p.weight, p.scale, p.zero_point, 2, 32, clip, true, true, false);
  const auto result = fake_quant_backward(gradient, p.weight, p.scale, p.zero_point, 2, 32, clip, false, true, true);
  EXPECT_EQ(result.weight.const_data_ptr(), gradient.const_data_ptr());
  EXPECT_TRUE(same_bits(result.weight, expected.weight));
  EXPECT_FALSE(result.scale.defined());
  EXPECT_TRUE(same_bits(result.zero_point, expected.zero_point));
}

INSTANTIATE_TEST_SUITE_P(Clip, BackwardTest, testing::Bool());

TEST(PackCodesTest, ThreeBitStreamByHand) {
  // Codes 1 2 3 4 5 6 7 0 1 2 3 from the lowest bit: the 11th code (3) has its low two bits at the top of word 0.
  const at::Tensor codes = bytes({1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 7}, {1, 11});
  uint32_t first = 0;
  const int values[] = {1, 2, 3, 4, 5, 6, 7, 0, 1, 2};
  for (int i = 0; i < 10; ++i) first += uint32_t(values[i]) * (1u << (3 * i));
  first += 3u << 30;              // low two bits of 7
  ASSERT_EQ(first, 0xD11F58D1u);  // 11 010 001 000 111 110 101 100 011 010 001
  const at::Tensor packed = pack_codes(codes, 3);
  ASSERT_EQ(packed.sizes(), at::IntArrayRef({1, 2}));
  EXPECT_EQ(uint32_t(packed[0][0].item<int32_t>()), 0xD11F58D1u);
  EXPECT_EQ(uint32_t(packed[0][1].item<int32_t>()), 1u);
}

TEST(PackCodesTest, RoundTripOfAllWidthsAndOddLengths) {
  for (int64_t num_bits = 1; num_bits <= 8; ++num_bits)
    for (const int64_t columns : {1, 7, 31, 32, 33, 64, 577}) {
      const at::Tensor codes =
          at::randint(0, int64_t(1) << num_bits, {5, columns}, at::detail::createCPUGenerator(columns), at::kLong)
              .to(at::kByte);
      const at::Tensor packed = pack_codes(codes, num_bits);
      ASSERT_EQ(packed.size(1), (columns * num_bits + 31) / 32);
      EXPECT_TRUE(same_bits(unpack_codes(packed, num_bits, columns), codes)) << num_bits << " " << columns;
      // Bit b of code k is bit k * num_bits + b of the row's stream.
      const int64_t k = columns - 1;
      for (int64_t b = 0; b < num_bits; ++b) {
        const int64_t bit = k * num_bits + b;
        const uint32_t word = uint32_t(packed[4][bit / 32].item<int32_t>());
        EXPECT_EQ((word >> (bit % 32)) & 1u, (codes[4][k].item<uint8_t>() >> b) & 1u);
      }
    }
}

template <class Function>
void expect_value_error(const Function& function, const std::string& part) {
  try {
    function();
    FAIL() << "expected a ValueError with: " << part;
  } catch (const c10::ValueError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(QuantizeErrorsTest, WrongArgumentsAreNamed) {
  const at::Tensor w = at::zeros({4, 64}), s = at::ones({4, 1}), z = at::zeros({4, 1}, at::kByte);
  const at::Tensor codes = at::full({4, 64}, 4, at::kByte);
  expect_value_error([&] { quantize(w, s, z, 0, 64); }, "[quantize] expected num_bits in 1..8, got 0");
  expect_value_error([&] { fake_quant(w, s, z, 9, 64, at::kFloat); }, "[fake_quant] expected num_bits in 1..8, got 9");
  expect_value_error([&] { quantize(w, s, z, 2, 0); }, "[quantize] expected group_size > 0, got 0");
  expect_value_error([&] { quantize(w.to(at::kBFloat16), s, z, 2, 64); }, "[quantize] expected weight of type Float");
  expect_value_error([&] { quantize(w[0], s, z, 2, 64); }, "[quantize] expected a matrix with 2 dimensions");
  expect_value_error([&] { quantize(w, s, z, 2, 32); }, "[quantize] expected scale of shape [4, 2], got [4, 1]");
  expect_value_error([&] { quantize(w, s, at::zeros({4, 2}, at::kByte), 2, 64); }, "zero_point of shape [4, 1]");
  expect_value_error([&] { quantize(w, s, s, 2, 64); }, "[quantize] expected zero_point of type Byte");
  expect_value_error([&] { quantize(w, at::Tensor(), z, 2, 64); }, "an undefined tensor");
  expect_value_error([&] { quantize(w.to(at::kMeta), s, z, 2, 64); }, "[quantize] expected ");
  expect_value_error([&] { dequantize(codes, s, z, 64, at::kDouble); }, "[dequantize] expected dtype float32");
  expect_value_error([&] { dequantize(w, s, z, 64, at::kFloat); }, "[dequantize] expected codes of type Byte");
  expect_value_error([&] { pack_codes(codes, 2); }, "[pack_codes] expected codes below 4");
  expect_value_error([&] { pack_codes(w, 2); }, "[pack_codes] expected codes of type Byte");
  expect_value_error([&] { unpack_codes(at::zeros({2, 3}, at::kInt), 2, 64); }, "packed of shape [2, 4], got [2, 3]");
  expect_value_error([&] { unpack_codes(at::zeros({2, 3}, at::kInt), 2, -1); }, "expected num_columns >= 0, got -1");
  expect_value_error(
      [&] {
        fake_quant_backward(at::zeros({4, 63}), w, s, z, 2, 64, true, true, true, false);
      },
      "[fake_quant_backward] expected gradient of shape [4, 64], got [4, 63]");
  expect_value_error(
      [&] {
        fake_quant_backward(at::zeros({64, 4}).t(), w, s, z, 2, 64, true, true, true, true);
      },
      "[fake_quant_backward] expected a contiguous gradient with in_place");
}

}  // namespace
}  // namespace rqat::ops
