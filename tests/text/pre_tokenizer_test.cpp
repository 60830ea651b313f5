#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace rqat::text {
namespace {

using Words = std::vector<std::string>;

Words split(const PreTokenizer& pre, const std::string& text) {
  Pieces pieces;
  pre.split(text, true, pieces);
  Words words;
  for (const Piece& piece : pieces.list) words.emplace_back(piece.text);
  return words;
}

PreTokenizer splitter(const std::string& pattern, SplitBehavior behavior, bool invert = false) {
  PreTokenizer pre;
  pre.add_split(Regex(pattern, "test"), behavior, invert);
  return pre;
}

TEST(PreTokenizer, Gpt2Pattern) {
  PreTokenizer pre;
  pre.add_byte_level(false, true);
  EXPECT_TRUE(pre.take_bytes());
  EXPECT_EQ(split(pre, "I'll buy 12  eggs!\n\n ok "),
            (Words{"I", "'ll", " buy", " 12", " ", " eggs", "!", "\n\n", " ok", " "}));
  EXPECT_EQ(split(pre, ""), Words{});
}

TEST(PreTokenizer, PrefixSpaceGoesBeforeEachPiece) {
  PreTokenizer pre;
  pre.add_digits(true);
  pre.add_byte_level(true, false);
  EXPECT_TRUE(pre.take_bytes());
  EXPECT_EQ(split(pre, "a1 b"), (Words{" a", " 1", " b"}));
}

TEST(PreTokenizer, DigitsOneByOneOrInRuns) {
  PreTokenizer single, runs;
  single.add_digits(true);
  runs.add_digits(false);
  EXPECT_EQ(split(single,
                  "a12\xC2\xBD"
                  "b"),
            (Words{"a", "1", "2", "\xC2\xBD", "b"}));
  EXPECT_EQ(split(runs,
                  "a12\xC2\xBD"
                  "b"),
            (Words{"a", "12\xC2\xBD", "b"}));
}

// The example of the `tokenizers` documentation: "the-final--countdown" at "-".
TEST(PreTokenizer, SplitBehaviors) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(split(splitter("-", SplitBehavior::kRemoved), text), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(split(splitter("-", SplitBehavior::kIsolated), text), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(splitter("-", SplitBehavior::kMergedWithPrevious), text),
            (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(splitter("-", SplitBehavior::kMergedWithNext), text), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(splitter("-", SplitBehavior::kContiguous), text), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split(splitter("[^-]+", SplitBehavior::kRemoved, true), text), (Words{"the", "final", "countdown"}));
}

TEST(PreTokenizer, EmptyMatchesSeparateWithoutConsuming) {
  EXPECT_EQ(split(splitter("(?=b)", SplitBehavior::kIsolated), "abab"), (Words{"a", "ba", "b"}));
}

TEST(PreTokenizer, StepsApplyInOrder) {
  PreTokenizer pre = splitter(" ", SplitBehavior::kRemoved);
  pre.add_digits(true);
  EXPECT_EQ(split(pre, "a1 2b"), (Words{"a", "1", "2", "b"}));
}

}  // namespace
}  // namespace rqat::text
