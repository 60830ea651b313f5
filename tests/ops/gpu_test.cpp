// The CUDA kernels against the CPU's. All names hold "Gpu": they get the label gpu and skip where there is none.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "rqat/ops/packed_linear.h"
#include "rqat/ops/quantize.h"

namespace rqat::ops {
namespace {

struct Shape {
  int64_t rows, columns, group_size;
};

class GpuTest : public testing::TestWithParam<std::tuple<Shape, int>> {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU on this machine, or a build without CUDA";
    std::tie(shape_, num_bits_) = GetParam();
    const auto generator = at::detail::createCPUGenerator(31);
    const int64_t groups = (shape_.columns + shape_.group_size - 1) / shape_.group_size, levels = 1 << num_bits_;
    scale_ = (at::rand({shape_.rows, groups}, generator, at::kFloat) * 0.2 + 1e-3).to(at::kHalf).to(at::kFloat);
    zero_point_ = at::randint(0, levels, {shape_.rows, groups}, generator, at::kLong).to(at::kByte);
    const at::Tensor wide = scale_.repeat_interleave(shape_.group_size, 1).slice(1, 0, shape_.columns);
    const at::Tensor halves =
        at::randint(-3 * levels, 3 * levels, {shape_.rows, shape_.columns}, generator, at::kFloat) / 2;
    const at::Tensor random = at::randn({shape_.rows, shape_.columns}, generator, at::kFloat) * levels;
    weight_ = (at::where(random > 0, halves, random) * wide).contiguous();
    codes_ = quantize(weight_, scale_, zero_point_, num_bits_, shape_.group_size);
  }

  Shape shape_{};
  int num_bits_ = 0;
  at::Tensor weight_, scale_, zero_point_, codes_;
};

TEST_P(GpuTest, CodesAndValuesEqualTheCpuBitForBit) {
  const at::Tensor w = weight_.cuda(), s = scale_.cuda(), z = zero_point_.cuda();
  const at::Tensor codes = quantize(w, s, z, num_bits_, shape_.group_size);
  EXPECT_TRUE(at::equal(codes.cpu(), codes_));
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor expected = dequantize(codes_, scale_, zero_point_, shape_.group_size, dtype);
    EXPECT_TRUE(at::equal(dequantize(codes, s, z, shape_.group_size, dtype).cpu(), expected)) << dtype;
    EXPECT_TRUE(at::equal(fake_quant(w, s, z, num_bits_, shape_.group_size, dtype).cpu(), expected)) << dtype;
  }
  const at::Tensor packed = pack_codes(codes, num_bits_);
  EXPECT_TRUE(at::equal(packed.cpu(), pack_codes(codes_, num_bits_)));
  EXPECT_TRUE(at::equal(unpack_codes(packed, num_bits_, shape_.columns).cpu(), codes_));
}

TEST_P(GpuTest, BackwardEqualsTheCpu) {
  const at::Tensor gradient = at::randn(weight_.sizes(), at::detail::createCPUGenerator(2), at::kFloat);
  for (const bool clip : {false, true}) {
    const auto expected = fake_quant_backward(gradient, weight_, scale_, zero_point_, num_bits_, shape_.group_size,
                                              clip, true, true, false);
    const auto result = fake_quant_backward(gradient.cuda(), weight_.cuda(), scale_.cuda(), zero_point_.cuda(),
                                            num_bits_, shape_.group_size, clip, true, true, true);
    EXPECT_TRUE(at::equal(result.weight.cpu(), expected.weight));
    EXPECT_TRUE(at::allclose(result.scale.cpu(), expected.scale, 1e-4, 1e-3));
    EXPECT_TRUE(at::allclose(result.zero_point.cpu(), expected.zero_point, 1e-4, 1e-4));
  }
}

TEST_P(GpuTest, PackedLinearEqualsTheCpu) {
  const PackedWeight on_cpu = prepack(codes_, scale_, zero_point_, num_bits_, shape_.group_size);
  const PackedWeight on_gpu = prepack(codes_.cuda(), scale_.cuda(), zero_point_.cuda(), num_bits_, shape_.group_size);
  EXPECT_TRUE(at::equal(unpack(on_gpu).cpu(), codes_));
  const bool tf32 = at::globalContext().allowTF32CuBLAS();
  at::globalContext().setAllowTF32CuBLAS(false);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t batch : {1, 2, 3, 8, 9, 40}) {
      const at::Tensor x =
          at::randn({batch, shape_.columns}, at::detail::createCPUGenerator(batch), at::kFloat).to(dtype);
      const at::Tensor bias = at::randn({shape_.rows}, at::detail::createCPUGenerator(1), at::kFloat).to(dtype);
      const at::Tensor expected = packed_linear(x, on_cpu, bias).to(at::kDouble);
      const at::Tensor result = packed_linear(x.cuda(), on_gpu, bias.cuda()).cpu().to(at::kDouble);
      const double error = ((result - expected).abs().max() / expected.abs().max()).item<double>();
      EXPECT_LT(error, dtype == at::kFloat ? 1e-5 : 1e-2) << dtype << " " << batch;
    }
  at::globalContext().setAllowTF32CuBLAS(tf32);
}

INSTANTIATE_TEST_SUITE_P(All, GpuTest,
                         testing::Combine(testing::Values(Shape{96, 576, 64}, Shape{100, 200, 128}, Shape{33, 77, 32},
                                                          Shape{17, 31, 7}, Shape{7, 45, 45}, Shape{64, 4100, 128}),
                                          testing::Values(2, 3, 4, 8)));

}  // namespace
}  // namespace rqat::ops
