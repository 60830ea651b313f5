#include "io/gguf_dequantize.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <iterator>
#include <vector>

#include "rqat/base/strings.h"

namespace rqat::io {
namespace {

constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8, kBF16 = 30;
constexpr int kBlock = 32;
constexpr int kHalfBlock = kBlock / 2;

constexpr GgmlType kTypes[] = {
    {kF32, "F32", 1, 4},         {kF16, "F16", 1, 2},         {kBF16, "BF16", 1, 2},       {kQ4_0, "Q4_0", kBlock, 18},
    {kQ4_1, "Q4_1", kBlock, 20}, {kQ5_0, "Q5_0", kBlock, 22}, {kQ5_1, "Q5_1", kBlock, 24}, {kQ8_0, "Q8_0", kBlock, 34},
};

/// Types that are only named, in messages.
constexpr std::pair<uint32_t, const char*> kOtherNames[] = {
    {9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},    {12, "Q4_K"},  {13, "Q5_K"},   {14, "Q6_K"},  {15, "Q8_K"},
    {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},
    {23, "IQ4_XS"},  {24, "I8"},     {25, "I16"},     {26, "I32"},   {27, "I64"},    {28, "F64"},   {29, "IQ1_M"},
    {34, "TQ1_0"},   {35, "TQ2_0"},  {39, "MXFP4"},   {40, "NVFP4"}, {41, "Q1_0"},   {42, "Q2_0"},
};

float read_half(const uint8_t* source) {
  c10::Half value;
  std::memcpy(&value.x, source, sizeof(value.x));
  return static_cast<float>(value);
}

void dequantize_f16(const uint8_t* source, float* target) { *target = read_half(source); }

void dequantize_bf16(const uint8_t* source, float* target) {
  c10::BFloat16 value;
  std::memcpy(&value.x, source, sizeof(value.x));
  *target = static_cast<float>(value);
}

/// Byte j holds value j in its low nibble and value j + 16 in its high one.
void dequantize_q4_0(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  const uint8_t* codes = source + 2;
  for (int j = 0; j < kHalfBlock; ++j) {
    target[j] = static_cast<float>((codes[j] & 15) - 8) * scale;
    target[j + kHalfBlock] = static_cast<float>((codes[j] >> 4) - 8) * scale;
  }
}

void dequantize_q4_1(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  const float minimum = read_half(source + 2);
  const uint8_t* codes = source + 4;
  for (int j = 0; j < kHalfBlock; ++j) {
    target[j] = static_cast<float>(codes[j] & 15) * scale + minimum;
    target[j + kHalfBlock] = static_cast<float>(codes[j] >> 4) * scale + minimum;
  }
}

/// The 5-bit codes of a block: nibbles as in Q4, the fifth bit of value j is bit j of `high`.
void unpack_q5(const uint8_t* high, const uint8_t* nibbles, int* codes) {
  uint32_t bits = 0;
  std::memcpy(&bits, high, sizeof(bits));
  for (int j = 0; j < kHalfBlock; ++j) {
    codes[j] = (nibbles[j] & 15) | static_cast<int>(((bits >> j) & 1) << 4);
    codes[j + kHalfBlock] = (nibbles[j] >> 4) | static_cast<int>(((bits >> (j + kHalfBlock)) & 1) << 4);
  }
}

void dequantize_q5_0(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  int codes[kBlock];
  unpack_q5(source + 2, source + 6, codes);
  for (int j = 0; j < kBlock; ++j) target[j] = static_cast<float>(codes[j] - 16) * scale;
}

void dequantize_q5_1(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  const float minimum = read_half(source + 2);
  int codes[kBlock];
  unpack_q5(source + 4, source + 8, codes);
  for (int j = 0; j < kBlock; ++j) target[j] = static_cast<float>(codes[j]) * scale + minimum;
}

void dequantize_q8_0(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  const auto* codes = reinterpret_cast<const int8_t*>(source + 2);
  for (int j = 0; j < kBlock; ++j) target[j] = static_cast<float>(codes[j]) * scale;
}

template <void (*Block)(const uint8_t*, float*)>
void each_block(const GgmlType& type, const uint8_t* source, float* target, int64_t blocks) {
  for (int64_t i = 0; i < blocks; ++i) Block(source + i * type.block_bytes, target + i * type.block_values);
}

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  for (const auto& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::string ggml_type_name(uint32_t id) {
  if (const GgmlType* type = find_ggml_type(id)) return type->name;
  for (const auto& [other, name] : kOtherNames) {
    if (other == id) return name;
  }
  return base::cat("type ", id);
}

std::string ggml_type_names() {
  std::vector<std::string> names;
  for (const auto& type : kTypes) names.emplace_back(type.name);
  return base::join(names, ", ");
}

void dequantize_blocks(const GgmlType& type, const uint8_t* source, float* target, int64_t blocks) {
  switch (type.id) {
    case kF32:
      std::memcpy(target, source, static_cast<size_t>(blocks) * sizeof(float));
      break;
    case kF16:
      each_block<dequantize_f16>(type, source, target, blocks);
      break;
    case kBF16:
      each_block<dequantize_bf16>(type, source, target, blocks);
      break;
    case kQ4_0:
      each_block<dequantize_q4_0>(type, source, target, blocks);
      break;
    case kQ4_1:
      each_block<dequantize_q4_1>(type, source, target, blocks);
      break;
    case kQ5_0:
      each_block<dequantize_q5_0>(type, source, target, blocks);
      break;
    case kQ5_1:
      each_block<dequantize_q5_1>(type, source, target, blocks);
      break;
    case kQ8_0:
      each_block<dequantize_q8_0>(type, source, target, blocks);
      break;
  }
}

}  // namespace rqat::io
