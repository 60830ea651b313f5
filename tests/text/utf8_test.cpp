#include "text/utf8.h"

#include <gtest/gtest.h>

namespace rqat::text {
namespace {

TEST(Utf8, ReadsCharactersOfAllLengths) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";  // a é € U+1F600
  const uint32_t expected[] = {0x61, 0xE9, 0x20AC, 0x1F600};
  size_t position = 0;
  for (const uint32_t code_point : expected) {
    const Utf8Step step = utf8_step(text, position);
    EXPECT_TRUE(step.valid);
    EXPECT_EQ(step.code_point, code_point);
    std::string again;
    append_utf8(again, step.code_point);
    EXPECT_EQ(again, text.substr(position, step.length));
    position += step.length;
  }
  EXPECT_EQ(position, text.size());
}

// Expected values: Python's bytes.decode("utf-8", errors="replace").
TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("a\xFFz"), "a" + mark + "z");
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82z"), mark + "z");                        // cut three-byte character
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98"), mark);                           // cut four-byte character
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), mark + mark);                        // overlong
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), mark + mark + mark);             // surrogate
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), mark + mark + mark + mark);  // above U+10FFFF
  EXPECT_EQ(replace_invalid_utf8("\x80"), mark);
  EXPECT_FALSE(is_valid_utf8("\xE2\x82"));
  EXPECT_TRUE(is_valid_utf8("\xE2\x82\xAC"));
}

TEST(Utf8, IncompleteSuffixIsOnlyWhatMayStillBecomeACharacter) {
  EXPECT_EQ(incomplete_suffix("ab"), 0u);
  EXPECT_EQ(incomplete_suffix("a\xC3"), 1u);
  EXPECT_EQ(incomplete_suffix("a\xF0\x9F"), 2u);
  EXPECT_EQ(incomplete_suffix("a\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incomplete_suffix("a\xF0\x9F\x98\x80"), 0u);
  EXPECT_EQ(incomplete_suffix("a\x80"), 0u);     // can never be completed
  EXPECT_EQ(incomplete_suffix("\xED\xA0"), 0u);  // surrogate
  EXPECT_EQ(incomplete_suffix(""), 0u);
}

TEST(Utf8, NfcComposes) {
  EXPECT_EQ(to_nfc("e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1"), "\xEA\xB0\x80");  // Hangul ga
  EXPECT_EQ(to_nfc("plain"), "plain");
}

TEST(Utf8, CharacterClasses) {
  EXPECT_TRUE(is_numeric('7') && is_numeric(0xBD) && is_numeric(0x2167));  // 7, one half, Roman eight
  EXPECT_FALSE(is_numeric('x'));
  EXPECT_TRUE(is_space(' ') && is_space(0x3000) && is_space(0x85));
  EXPECT_FALSE(is_space(0x180E) || is_space('a'));
  EXPECT_TRUE(is_word_character('_') && is_word_character(0x301) && is_word_character('9'));
  EXPECT_FALSE(is_word_character('-') || is_word_character(' '));
}

}  // namespace
}  // namespace rqat::text
