#include "cpu/packed_layout.h"

#include <cstring>

namespace rqat::ops::cpu {
namespace {

constexpr int64_t kPairs = kBlock / 2;

// The two low bits of each code for 2 and 3 bits.
void encode_two_bits(const uint8_t* codes, uint8_t* block) {
  uint16_t words[2 * kBlock] = {};
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t column = 0; column < kBlock; ++column)
      words[2 * row + column % 2] |= uint16_t((codes[row * kBlock + column] & 3) << (column / 2 * 2));
  std::memcpy(block, words, sizeof words);
}

void decode_two_bits(const uint8_t* block, uint8_t* codes) {
  uint16_t words[2 * kBlock];
  std::memcpy(words, block, sizeof words);
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t pair = 0; pair < kPairs; ++pair) {
      codes[row * kBlock + 2 * pair] = (words[2 * row] >> (2 * pair)) & 3;
      codes[row * kBlock + 2 * pair + 1] = (words[2 * row + 1] >> (2 * pair)) & 3;
    }
}

void encode_high_bit(const uint8_t* codes, uint8_t* plane) {
  std::memset(plane, 0, 2 * kBlock);
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t column = 0; column < kBlock; ++column)
      plane[2 * row + column % 2] |= uint8_t((codes[row * kBlock + column] >> 2) << (column / 2));
}

void decode_high_bit(const uint8_t* plane, uint8_t* codes) {
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t column = 0; column < kBlock; ++column)
      codes[row * kBlock + column] |= uint8_t(((plane[2 * row + column % 2] >> (column / 2)) & 1) << 2);
}

template <int kBits>
void encode_words(const uint8_t* codes, uint8_t* block) {
  constexpr int64_t kPerWord = 32 / kBits;
  uint32_t words[kBlock * kBlock / kPerWord] = {};
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t column = 0; column < kBlock; ++column)
      words[column / kPerWord * kBlock + row] |= uint32_t(codes[row * kBlock + column]) << (column % kPerWord * kBits);
  std::memcpy(block, words, sizeof words);
}

template <int kBits>
void decode_words(const uint8_t* block, uint8_t* codes) {
  constexpr int64_t kPerWord = 32 / kBits;
  uint32_t words[kBlock * kBlock / kPerWord];
  std::memcpy(words, block, sizeof words);
  for (int64_t row = 0; row < kBlock; ++row)
    for (int64_t column = 0; column < kBlock; ++column)
      codes[row * kBlock + column] =
          uint8_t((words[column / kPerWord * kBlock + row] >> (column % kPerWord * kBits)) & ((1 << kBits) - 1));
}

}  // namespace

void encode_block(const uint8_t* block_codes, int64_t num_bits, uint8_t* block) {
  if (num_bits == 8) return encode_words<8>(block_codes, block);
  if (num_bits == 4) return encode_words<4>(block_codes, block);
  encode_two_bits(block_codes, block);
  if (num_bits == 3) encode_high_bit(block_codes, block + 4 * kBlock);
}

void decode_block(const uint8_t* block, int64_t num_bits, uint8_t* block_codes) {
  if (num_bits == 8) return decode_words<8>(block, block_codes);
  if (num_bits == 4) return decode_words<4>(block, block_codes);
  decode_two_bits(block, block_codes);
  if (num_bits == 3) decode_high_bit(block + 4 * kBlock, block_codes);
}

}  // namespace rqat::ops::cpu
