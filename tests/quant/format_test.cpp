#include "rqat/quant/format.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "quant/quant_support.h"
#include "rqat/base/fields.h"
#include "rqat/base/strings.h"
#include "rqat/quant/quantizer.h"

namespace rqat::quant {
namespace {

TEST(QuantFormatTest, GroupsOfARow) {
  const QuantFormat grouped = make_format(2, false, 64), channel = make_format(4, true, -1);
  EXPECT_EQ(grouped.num_groups(576), 9);
  EXPECT_EQ(make_format(2, false, 128).num_groups(576), 5);  // the last one short
  EXPECT_EQ(channel.num_groups(576), 1);
  EXPECT_EQ(channel.resolved_group(576), 576);
  EXPECT_EQ(grouped.resolved_group(32), 32);
  EXPECT_EQ(grouped.max_code(), 3);
}

TEST(QuantFormatTest, BitsPerWeightCountScalesAndZeroPoints) {
  EXPECT_DOUBLE_EQ(make_format(2, false, 64).bits_per_weight(576), 2 + (16 + 2) / 64.0);
  EXPECT_DOUBLE_EQ(make_format(4, true, 128).bits_per_weight(1024), 4 + 16 / 128.0);
  EXPECT_DOUBLE_EQ(make_format(3, false, 128).bits_per_weight(576), 3 + 5 * (16 + 3) / 576.0);
}

TEST(QuantFormatTest, NamesEveryQuantizerOfTheRegistry) {
  for (const std::string& name : quantizers().names()) {
    QuantFormat format;
    base::Faults faults;
    base::read_config(format, base::Node::parse("quantizer: " + name, "r.yaml"), "", faults);
    EXPECT_TRUE(faults.empty()) << name;
    EXPECT_EQ(format.quantizer, name);
  }
  std::string listed;
  for (const base::FieldInfo& field : base::describe_config(*std::make_unique<QuantFormat>()))
    if (field.key == "quantizer") listed = field.type;
  EXPECT_EQ(listed, "one of " + base::join(quantizers().names(), "|"));
}

TEST(QuantFormatTest, Text) {
  EXPECT_EQ(make_format(2, false, 64).text(), "w2_g64_asym");
  EXPECT_EQ(make_format(8, true, -1).text(), "w8_channel_sym");
}

TEST(QuantFormatTest, CheckNamesWhatIsWrong) {
  EXPECT_TRUE(make_format(3, false, 64).check().empty());
  for (const int64_t bits : {5, 6, 7}) {
    const auto faults = make_format(bits, false, 64).check();
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_NE(faults[0].find("num_bits"), std::string::npos);
  }
  const auto faults = make_format(4, false, 0).check();
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_NE(faults[0].find("group_size"), std::string::npos);
}

TEST(QuantFormatTest, EqualityLooksAtEveryField) {
  const QuantFormat format = make_format(4, false, 64);
  EXPECT_EQ(format, make_format(4, false, 64));
  EXPECT_FALSE(format == make_format(3, false, 64));
  EXPECT_FALSE(format == make_format(4, true, 64));
  EXPECT_FALSE(format == make_format(4, false, 32));
  EXPECT_FALSE(format == make_format(4, false, 64, "bfloat16"));
}

TEST(RoundScaleTest, IsRepresentableAndWithinLimits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const at::Tensor scale = at::tensor({0.0F, -1.0F, 1e-9F, 0.1F, 1.0F, 1e6F, kInfinity}, at::kFloat);
  const at::Tensor half = round_scale(scale, "float16");
  // 0.1 in fp16 is 0x2e66 = 1638 / 2^14; the smallest normal is 2^-14.
  const at::Tensor expected =
      at::tensor({0x1p-14F, 0x1p-14F, 0x1p-14F, 1638.0F / 16384.0F, 1.0F, 65504.0F, 65504.0F}, at::kFloat);
  EXPECT_TRUE(at::equal(half, expected)) << half;
  const at::Tensor brain = round_scale(scale, "bfloat16");
  EXPECT_EQ(brain[0].item<float>(), 0x1p-126F);
  EXPECT_EQ(brain[3].item<float>(), 0.10009765625F);  // 0x3dcd
  EXPECT_TRUE(at::isfinite(brain).all().item<bool>());
  EXPECT_TRUE(at::equal(round_scale(half, "float16"), half));
  EXPECT_TRUE(at::equal(round_scale(brain, "bfloat16"), brain));
}

}  // namespace
}  // namespace rqat::quant
