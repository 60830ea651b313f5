#include "text/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>

namespace rqat::text {
namespace {

TEST(ByteAlphabet, KnownCharacters) {
  EXPECT_EQ(byte_character('A'), "A");
  EXPECT_EQ(byte_character(' '), "\xC4\xA0");   // U+0120
  EXPECT_EQ(byte_character('\n'), "\xC4\x8A");  // U+010A
  EXPECT_EQ(byte_character(0), "\xC4\x80");     // U+0100
  EXPECT_EQ(byte_character(0xAD), "\xC5\x83");  // U+0143, the last of the 68
  EXPECT_EQ(byte_character(0xE9), "\xC3\xA9");
}

TEST(ByteAlphabet, RoundTripsEveryByte) {
  std::string bytes;
  std::set<std::string> distinct;
  for (int byte = 0; byte < 256; ++byte) {
    bytes += static_cast<char>(byte);
    distinct.insert(byte_character(static_cast<uint8_t>(byte)));
  }
  EXPECT_EQ(distinct.size(), 256u);
  EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(bytes)), bytes);
}

TEST(ByteAlphabet, OtherCharactersAreOutside) {
  EXPECT_EQ(alphabet_to_bytes("a b"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes("<\xEF\xBD\x9CUser>"), std::nullopt);
}

}  // namespace
}  // namespace rqat::text
