#include "text/regex.h"

#include <gtest/gtest.h>

#include "rqat/base/error.h"

namespace rqat::text {
namespace {

std::string first_match(const std::string& pattern, const std::string& text) {
  size_t begin = 0, end = 0;
  return Regex(pattern, "test").search(text, 0, begin, end) ? text.substr(begin, end - begin) : "none";
}

TEST(Regex, WhiteSpaceIsTheUnicodeProperty) {
  EXPECT_EQ(first_match(R"(\s+)", "a \xE3\x80\x80z"), " \xE3\x80\x80");  // ideographic space
  EXPECT_EQ(first_match(R"(\s)", "\xE1\xA0\x8E"), "none");               // U+180E is none since Unicode 6.3
  EXPECT_EQ(first_match(R"(\S)", " \xE1\xA0\x8E"), "\xE1\xA0\x8E");
  EXPECT_EQ(first_match(R"([\S])", " \xE1\xA0\x8E"), "\xE1\xA0\x8E");
  EXPECT_EQ(first_match(R"([^\s\p{L}]+)", "ab \xE1\xA0\x8E!"), "\xE1\xA0\x8E!");
}

TEST(Regex, CarriesOverOnigurumaSyntax) {
  EXPECT_EQ(first_match(R"(\h+)", "xyz0aFg"), "0aF");  // hexadecimal digits
  EXPECT_EQ(first_match(R"(\H)", "0x"), "x");
}

TEST(Regex, UnicodeClassesAndEscapes) {
  EXPECT_EQ(first_match(R"(\w+)", "-a\xCC\x81_9-"), "a\xCC\x81_9");  // marks are word characters
  EXPECT_EQ(first_match(R"(\W)", "a-"), "-");
  EXPECT_EQ(first_match(R"(\d+)",
                        "x\xD9\xA3"
                        "4"),
            "\xD9\xA3"
            "4");  // Arabic-Indic three
  EXPECT_EQ(first_match(R"(\D)", "4x"), "x");
  EXPECT_EQ(first_match(R"(\u00e9)", "e\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(first_match(R"((?m:a.b))", "a\nb"), "a\nb");
  EXPECT_EQ(first_match(R"(a.b)", "a\nb"), "none");
  EXPECT_EQ(first_match(R"((?i:'LL))", "we'll"), "'ll");
  EXPECT_EQ(first_match(R"(^b$)", "a\nb\nc"), "b");  // always line by line, as in Ruby
  EXPECT_EQ(first_match(R"(\p{N}{1,3})", "12345"), "123");
  EXPECT_EQ(first_match(R"([^\r\n\p{L}]?+\p{L}+)", " hi"), " hi");
  EXPECT_EQ(first_match(R"([[:digit:]]+)", "ab12"), "12");
}

TEST(Regex, RefusesWhatWouldMeanSomethingElse) {
  for (const char* pattern :
       {R"([a[bc]])", R"([a-z&&[^b]])", R"(\bword)", R"(a{1,2}+)", R"([\W])", R"([\H])", "[]", "[[:alpha"}) {
    EXPECT_THROW(Regex(pattern, "file.json"), base::IoError) << pattern;
  }
  try {
    Regex("(a", "file.json: pre_tokenizer");
    FAIL();
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("file.json: pre_tokenizer: regular expression '(a' does not compile"),
              std::string::npos);
  }
}

TEST(Regex, BacktrackingIsBounded) {
  const Regex nested("(a|aa)+$", "test", 100000);
  size_t begin = 0, end = 0;
  EXPECT_THROW(nested.search(std::string(200, 'a') + "b", 0, begin, end), base::DataError);
}

TEST(Regex, EscapedTextMatchesItself) {
  const std::string text = R"(a.b*(c)[d]{e}|f\g^$?+-#&~)";
  EXPECT_EQ(first_match(escape_regex(text), "xx" + text + "yy"), text);
}

}  // namespace
}  // namespace rqat::text
