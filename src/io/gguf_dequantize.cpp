#include "io/gguf_dequantize.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <iterator>
#include <vector>

#include "io/gguf_k_quants.h"
#include "rqat/base/strings.h"

namespace rqat::io {

float read_half(const uint8_t* source) {
  c10::Half value;
  std::memcpy(&value.x, source, sizeof(value.x));
  return static_cast<float>(value);
}

namespace {

constexpr int kBlock = 32;
constexpr int kHalfBlock = kBlock / 2;

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

/// 64 values of 2 bits: value j at bits 2 * (j % 4) of byte j / 4.
void dequantize_q2_0(const uint8_t* source, float* target) {
  const float scale = read_half(source);
  const uint8_t* codes = source + 2;
  for (int j = 0; j < 64; ++j) target[j] = static_cast<float>((codes[j / 4] >> (2 * (j % 4)) & 3) - 1) * scale;
}

void copy_f32(const uint8_t* source, float* target, int64_t blocks) {
  std::memcpy(target, source, static_cast<size_t>(blocks) * sizeof(float));
}

template <int64_t values, int64_t bytes, void (*block)(const uint8_t*, float*)>
constexpr GgmlType type_of(uint32_t id, const char* name) {
  return {id, name, values, bytes, each_block<values, bytes, block>};
}

constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4, copy_f32},
    type_of<1, 2, dequantize_f16>(1, "F16"),
    type_of<1, 2, dequantize_bf16>(30, "BF16"),
    type_of<32, 18, dequantize_q4_0>(2, "Q4_0"),
    type_of<32, 20, dequantize_q4_1>(3, "Q4_1"),
    type_of<32, 22, dequantize_q5_0>(6, "Q5_0"),
    type_of<32, 24, dequantize_q5_1>(7, "Q5_1"),
    type_of<32, 34, dequantize_q8_0>(8, "Q8_0"),
    type_of<256, 84, dequantize_q2_k>(10, "Q2_K"),
    type_of<256, 110, dequantize_q3_k>(11, "Q3_K"),
    type_of<256, 144, dequantize_q4_k>(12, "Q4_K"),
    type_of<256, 176, dequantize_q5_k>(13, "Q5_K"),
    type_of<256, 210, dequantize_q6_k>(14, "Q6_K"),
    type_of<256, 66, dequantize_tq2_0>(35, "TQ2_0"),
    type_of<64, 18, dequantize_q2_0>(42, "Q2_0"),
};

/// Types that are only named, in messages.
constexpr std::pair<uint32_t, const char*> kOtherNames[] = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {23, "IQ4_XS"},  {24, "I8"},     {25, "I16"},     {26, "I32"},   {27, "I64"},
    {28, "F64"},   {29, "IQ1_M"}, {34, "TQ1_0"},   {39, "MXFP4"},  {40, "NVFP4"},   {41, "Q1_0"},
};

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

}  // namespace rqat::io
