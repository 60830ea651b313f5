#include "text/added_tokens.h"

#include <gtest/gtest.h>

namespace rqat::text {
namespace {

using Found = std::vector<std::pair<std::string, int64_t>>;

AddedToken token(const std::string& content, int64_t id) {
  AddedToken made;
  made.content = content;
  made.id = id;
  return made;
}

Found split(const std::vector<AddedToken>& tokens, const std::string& text, bool parse_special = true) {
  AddedTokenMatcher matcher;
  for (const AddedToken& added : tokens) matcher.add(added);
  Found found;
  for (const Segment& segment : matcher.split(text, parse_special)) found.emplace_back(segment.text, segment.id);
  return found;
}

TEST(AddedTokens, TextWithoutTokensIsOneSegment) {
  EXPECT_EQ(split({}, "abc"), (Found{{"abc", -1}}));
  EXPECT_EQ(split({token("<s>", 5)}, "abc"), (Found{{"abc", -1}}));
  EXPECT_EQ(split({token("<s>", 5)}, ""), Found{});
}

TEST(AddedTokens, LeftmostLongest) {
  EXPECT_EQ(split({token("<a", 1), token("<a>", 2), token("a>b", 3)}, "x<a>b<a"),
            (Found{{"x", -1}, {"<a>", 2}, {"b", -1}, {"<a", 1}}));
}

TEST(AddedTokens, SpecialTokensStayTextWhenNotParsed) {
  AddedToken plain = token("<think>", 2);
  plain.special = false;
  EXPECT_EQ(split({token("<s>", 1), plain}, "<s>a<think>", false), (Found{{"<s>a", -1}, {"<think>", 2}}));
}

TEST(AddedTokens, StripsTakeWhiteSpaceAround) {
  AddedToken left = token("<m>", 1), right = token("<n>", 2);
  left.lstrip = true;
  right.rstrip = true;
  EXPECT_EQ(split({left, right}, "a \t<m> b"), (Found{{"a", -1}, {" \t<m>", 1}, {" b", -1}}));
  EXPECT_EQ(split({left, right}, "a <n>\xE3\x80\x80 b"), (Found{{"a ", -1}, {"<n>\xE3\x80\x80 ", 2}, {"b", -1}}));
  EXPECT_EQ(split({left, right}, "<n>  <m>"), (Found{{"<n>  ", 2}, {"<m>", 1}}));
}

TEST(AddedTokens, SingleWordNeedsFreeSides) {
  AddedToken word = token("ing", 1);
  word.single_word = true;
  EXPECT_EQ(split({word}, "ing sing ing\xC3\xA9 (ing)"),
            (Found{{"ing", 1}, {" sing ing\xC3\xA9 (", -1}, {"ing", 1}, {")", -1}}));
}

}  // namespace
}  // namespace rqat::text
