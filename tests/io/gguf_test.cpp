#include "rqat/io/gguf.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/corruption.h"
#include "io/gguf_builder.h"

namespace rqat::io {
namespace {

constexpr float kScale = 0.25f;
constexpr float kMinimum = -1.5f;

template <class T>
std::string bytes_of(T value) {
  return GgufBuilder::bytes_of(value);
}

std::string half_bytes(float value) { return bytes_of(c10::Half(value).x); }

GgufReader open(const TemporaryFolder& folder, const std::string& bytes) {
  write_plain(folder / "a.gguf", bytes);
  return GgufReader(folder / "a.gguf");
}

/// Code i of block b, below `levels`.
int code(int block, int i, int levels) { return (7 * i + 5 * block + i * i) % levels; }

std::string nibbles(int block, int levels) {
  std::string packed;
  for (int j = 0; j < 16; ++j) {
    packed += static_cast<char>((code(block, j, levels) & 15) | (code(block, j + 16, levels) & 15) << 4);
  }
  return packed;
}

std::string fifth_bits(int block) {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>(code(block, j, 32) >> 4) << j;
  return bytes_of(bits);
}

std::string signed_codes(int block) {
  std::string packed;
  for (int j = 0; j < 32; ++j) packed += static_cast<char>(code(block, j, 256) - 128);
  return packed;
}

struct TypeCase {
  const char* name;
  uint32_t type;
  int levels, offset;
  float minimum;
  std::string (*block)(int);
};

std::string block_q4_0(int b) { return half_bytes(kScale * (b + 1)) + nibbles(b, 16); }
std::string block_q4_1(int b) { return half_bytes(kScale * (b + 1)) + half_bytes(kMinimum) + nibbles(b, 16); }
std::string block_q5_0(int b) { return half_bytes(kScale * (b + 1)) + fifth_bits(b) + nibbles(b, 32); }
std::string block_q5_1(int b) {
  return half_bytes(kScale * (b + 1)) + half_bytes(kMinimum) + fifth_bits(b) + nibbles(b, 32);
}
std::string block_q8_0(int b) { return half_bytes(kScale * (b + 1)) + signed_codes(b); }

class GgufTypeTest : public ::testing::TestWithParam<TypeCase> {};

TEST_P(GgufTypeTest, BlocksBecomeTheirValues) {
  const TypeCase& type = GetParam();
  std::string data;
  for (int block = 0; block < 6; ++block) data += type.block(block);
  const TemporaryFolder folder;
  const at::Tensor tensor = open(folder, GgufBuilder().tensor("w", {3, 64}, type.type, data).build()).read("w");
  ASSERT_EQ(tensor.sizes(), (std::vector<int64_t>{3, 64}));
  const at::Tensor flat = tensor.flatten();
  for (int i = 0; i < 192; ++i) {
    const int block = i / 32;
    const float expected = (code(block, i % 32, type.levels) - type.offset) * kScale * (block + 1) + type.minimum;
    ASSERT_EQ(flat[i].item<float>(), expected) << "value " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufTypeTest,
                         ::testing::Values(TypeCase{"Q4_0", 2, 16, 8, 0, block_q4_0},
                                           TypeCase{"Q4_1", 3, 16, 0, kMinimum, block_q4_1},
                                           TypeCase{"Q5_0", 6, 32, 16, 0, block_q5_0},
                                           TypeCase{"Q5_1", 7, 32, 0, kMinimum, block_q5_1},
                                           TypeCase{"Q8_0", 8, 256, 128, 0, block_q8_0}),
                         [](const auto& info) { return info.param.name; });

TEST(Gguf, ReadsFloatTypes) {
  GgufBuilder builder;
  std::string f32, f16, bf16;
  for (const float value : {1.5f, -2.0f, 0.1f}) {
    f32 += bytes_of(value);
    f16 += half_bytes(value);
    bf16 += bytes_of(c10::BFloat16(value).x);
  }
  builder.tensor("f32", {3}, 0, f32)
      .tensor("f16", {3}, 1, f16)
      .tensor("bf16", {3}, 30, bf16)
      .tensor("none", {0, 4}, 0, "");
  const TemporaryFolder folder;
  const GgufReader reader = open(folder, builder.build());
  EXPECT_EQ(reader.read("f32")[2].item<float>(), 0.1f);
  EXPECT_EQ(reader.read("f16")[2].item<float>(), 0.0999755859375f);
  EXPECT_EQ(reader.read("bf16")[2].item<float>(), 0.10009765625f);
  EXPECT_EQ(reader.read("f16")[1].item<float>(), -2.0f);
  EXPECT_EQ(reader.read("none").numel(), 0);
  RQAT_EXPECT_IO_ERROR(reader.read("absent"), "has no tensor 'absent'");
}

TEST(Gguf, ReadsEveryMetadataType) {
  GgufBuilder builder;
  builder.raw("u8", 0, bytes_of<uint8_t>(200))
      .raw("i8", 1, bytes_of<int8_t>(-3))
      .raw("u16", 2, bytes_of<uint16_t>(60000));
  builder.raw("i16", 3, bytes_of<int16_t>(-300)).raw("u32", 4, bytes_of(4000000000u)).raw("i32", 5, bytes_of(-70000));
  builder.raw("f32", 6, bytes_of(0.5f))
      .boolean("yes", true)
      .text("text", "h\u00e9llo")
      .raw("u64", 10, bytes_of<uint64_t>(1));
  builder.raw("i64", 11, bytes_of<int64_t>(-5000000000)).raw("f64", 12, bytes_of(0.1));
  builder.texts("texts", {"a", "", "bc"})
      .integers("ints", {1, -2})
      .array("bools", 7, {std::string(1, '\1'), std::string(1, '\0')});
  builder.array("floats", 6, {bytes_of(1.5f)}).array("none", 8, {});
  const TemporaryFolder folder;
  const GgufReader reader = open(folder, builder.build());
  EXPECT_EQ(reader.integer("u8"), 200);
  EXPECT_EQ(reader.integer("i8"), -3);
  EXPECT_EQ(reader.integer("u16"), 60000);
  EXPECT_EQ(reader.integer("i16"), -300);
  EXPECT_EQ(reader.integer("u32"), 4000000000);
  EXPECT_EQ(reader.integer("i32"), -70000);
  EXPECT_EQ(reader.integer("u64"), 1);
  EXPECT_EQ(reader.integer("i64"), -5000000000);
  EXPECT_EQ(reader.number("f32"), 0.5);
  EXPECT_EQ(reader.number("f64"), 0.1);
  EXPECT_EQ(reader.text("text"), "h\u00e9llo");
  EXPECT_TRUE(std::get<bool>(reader.metadata().at("yes")));
  EXPECT_EQ(reader.texts("texts"), (std::vector<std::string>{"a", "", "bc"}));
  EXPECT_EQ(reader.integers("ints"), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(reader.integers("bools"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(reader.numbers("floats"), std::vector<double>{1.5});
  EXPECT_TRUE(reader.texts("none").empty());
  EXPECT_FALSE(reader.has("absent"));
  RQAT_EXPECT_IO_ERROR(reader.integer("absent"), "has no metadata key 'absent'");
  RQAT_EXPECT_IO_ERROR(reader.text("u8"), "metadata key 'u8' is an integer, expected a text");
  RQAT_EXPECT_IO_ERROR(reader.numbers("texts"), "is a list of texts, expected a list of numbers");
}

TEST(Gguf, TwoBitBlocks) {
  // d = 0.5; byte 0x1b holds the codes 3, 2, 1, 0 in its pairs, low bits first.
  const TemporaryFolder folder;
  const std::string q2_0 = bytes_of<uint16_t>(0x3800) + std::string(16, '\x1b');
  const at::Tensor narrow = open(folder, GgufBuilder().tensor("w", {64}, 42, q2_0).build()).read("w");
  EXPECT_TRUE(at::equal(narrow, at::tensor({1.0f, 0.5f, 0.0f, -0.5f}).repeat({16})));
  // TQ2_0: pair i / 32 % 4 of byte i % 32 of the half.
  const std::string tq2_0 = std::string(64, '\x1b') + bytes_of<uint16_t>(0x3800);
  const at::Tensor wide = open(folder, GgufBuilder().tensor("w", {256}, 35, tq2_0).build()).read("w");
  EXPECT_TRUE(at::equal(wide, at::tensor({1.0f, 0.5f, 0.0f, -0.5f}).repeat_interleave(32).repeat({2})));
}

TEST(Gguf, FaultsAreNamed) {
  const TemporaryFolder folder;
  const auto expect = [&](const std::string& bytes, const std::string& part) {
    RQAT_EXPECT_IO_ERROR(open(folder, bytes), part);
  };
  const auto with_tensor = [](std::vector<int64_t> shape, uint32_t type, uint64_t offset) {
    return GgufBuilder().tensor_at("w", shape, type, offset, std::string(64, '\0')).build();
  };
  GgufBuilder old;
  old.version = 1;
  expect("", "the file ends within a value");
  expect("GGML", "does not begin with 'GGUF'");
  expect(old.build(), "GGUF version 1 is not supported");
  expect("GGUF" + bytes_of(3u) + bytes_of(~uint64_t{0}) + bytes_of<uint64_t>(0), "tensors do not fit");
  expect("GGUF" + bytes_of(3u) + bytes_of<uint64_t>(0) + bytes_of(~uint64_t{0}), "metadata entries do not fit");
  expect(GgufBuilder().raw("k", 13, "12345678").build(), "key 'k' has the unknown value type 13");
  expect(GgufBuilder().raw("k", 8, bytes_of<uint64_t>(1000)).build(), "1000 characters do not fit");
  expect(GgufBuilder().raw("k", 9, bytes_of(5u) + bytes_of(uint64_t{1} << 40)).build(), "array elements do not fit");
  expect(GgufBuilder().raw("k", 9, bytes_of(9u) + bytes_of<uint64_t>(0)).build(), "array of values of type 9");
  expect(GgufBuilder().raw("k", 10, bytes_of(~uint64_t{0})).build(), "does not fit in a signed 64-bit integer");
  expect(GgufBuilder().boolean("k", true).boolean("k", true).build(), "duplicate key 'k'");
  expect(GgufBuilder().tensor("w", {1}, 0, "1234").tensor("w", {1}, 0, "1234").build(), "duplicate tensor 'w'");
  expect(GgufBuilder().integer("general.alignment", 12).build(), "general.alignment is 12, expected a power of two");
  expect(with_tensor({1, 1, 1, 1, 1}, 0, 0), "tensor 'w' has 5 dimensions");
  expect(with_tensor({16}, 0, 4), "offset 4 is not a multiple of 32");
  expect(with_tensor({17}, 0, 0), "are not inside the 64 bytes of data (truncated?)");
  expect(with_tensor({16}, 0, 96), "are not inside the 64 bytes of data");
  expect(with_tensor({int64_t{1} << 40, int64_t{1} << 40}, 0, 0), "is not possible for F32");
  expect(with_tensor({48}, 8, 0), "shape [48] is not possible for Q8_0");
  expect(with_tensor({64 * 8 + 8}, 99, 0), "are not inside the 64 bytes of data");
  expect(with_tensor({int64_t{1} << 40, int64_t{1} << 40}, 99, 0), "is not possible for type 99");
  expect(GgufBuilder().tensor_at("w", {1}, 0, ~uint64_t{0}, "1234").build(), "does not fit in a signed 64-bit integer");
  const GgufReader other = open(folder, with_tensor({256}, 23, 0));
  RQAT_EXPECT_IO_ERROR(other.read("w"), "tensor 'w' is stored as IQ4_XS, which is not supported (one of F32, F16");
  const GgufReader unknown = open(folder, with_tensor({256}, 99, 0));
  RQAT_EXPECT_IO_ERROR(unknown.read("w"), "is stored as type 99");
}

TEST(Gguf, DamagedFilesGiveErrors) {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").integer("llama.block_count", 2).texts("tokens", {"a", "b", "<s>"});
  builder.integers("types", {1, 1, 3}).number("eps", 1e-5f);
  builder.tensor("w", {2, 32}, 2, block_q4_0(0) + block_q4_0(1)).tensor("v", {2, 32}, 8, block_q8_0(0) + block_q8_0(1));
  builder.tensor("n", {8}, 0, std::string(32, '\1'));
  const std::string bytes = builder.build();
  const auto use = [&](const std::filesystem::path& path) {
    const GgufReader reader(path);
    for (const auto& [name, info] : reader.tensors()) EXPECT_LE(reader.read(name).nbytes(), 8 * bytes.size());
  };
  const auto counts = run_corruptions(bytes, 150, 4000, builder.head().size(), use);
  EXPECT_GT(counts.errors, 1000);
  EXPECT_GT(counts.successes, 100);
}

}  // namespace
}  // namespace rqat::io
