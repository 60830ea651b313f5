#include "rqat/answer/answer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace rqat::answer {
namespace {

struct ExtractCase {
  const char* response;
  std::optional<std::string> expected;
};

TEST(Extract, FindsEachForm) {
  const ExtractCase cases[] = {
      {"12 + 7 = 19.\n#### 19", "19"},
      {"#### 3\nno, wait\n####  -4 \nThat is all.", "-4"},
      {"####42", "42"},
      {"So \\boxed{42}.", "42"},
      {"\\boxed{1} then $\\boxed {\\frac{1}{2}}$", "\\frac{1}{2}"},
      {"\\fbox{7}", "7"},
      {"\\boxed{a \\} b}", "a \\} b"},
      {"\\boxed{outer \\boxed{3}}", "outer \\boxed{3}"},
      {"Answer: 42", "42"},
      {"The answer is 42 apples. I am sure.", "42 apples"},
      {"the answer is 1. No: The ANSWER IS: **3.5**.", "3.5"},
      {"Answer:\n 18\nbecause", "18"},
      {"**Answer:** Tuesday", "Tuesday"},
      {"Answer: 5\n#### 6", "6"},
      {"the answer is 5, so \\boxed{6}", "6"},
  };
  for (const auto& c : cases) EXPECT_EQ(extract(c.response), c.expected) << c.response;
}

TEST(Extract, FindsNothingWhereNothingIsStated) {
  for (const char* response : {"", "It is 42.", "####", "#### \n42", "\\boxed{42", "\\boxed 42", "boxed{42}",
                               "\\boxed{ }", "the answer is", "Answer: "}) {
    EXPECT_EQ(extract(response), std::nullopt) << response;
  }
}

TEST(Extract, CutBoxDoesNotHideTheWholeOneBeforeOrInside) {
  EXPECT_EQ(extract("\\boxed{5} and \\boxed{6"), "5");
  EXPECT_EQ(extract("\\boxed{6 \\boxed{5}"), "5");
}

TEST(Extract, IsLinearInHostileText) {
  std::string text;
  for (int i = 0; i < 300000; ++i) text += "\\boxed{";
  EXPECT_EQ(extract(text), std::nullopt);
  text += "7" + std::string(300000, '}');
  EXPECT_TRUE(extract(text)->starts_with("\\boxed{"));
  std::string answers;
  for (int i = 0; i < 300000; ++i) answers += "answer is ";
  EXPECT_EQ(extract(answers), std::nullopt);
}

TEST(LastNumber, TakesTheLastWithItsSignAndThousands) {
  EXPECT_EQ(last_number("Tom has 12 + 7 = 19 apples."), "19");
  EXPECT_EQ(last_number("about 1,234,567.50 dollars"), "1234567.50");
  EXPECT_EQ(last_number("x = -3"), "-3");
  EXPECT_EQ(last_number("is .5"), ".5");
  EXPECT_EQ(last_number("10-3"), "3");
  EXPECT_EQ(last_number("1, 2, 345"), "345");
  EXPECT_EQ(last_number("It is 7. Yes."), "7");
  EXPECT_EQ(last_number("none"), std::nullopt);
}

TEST(Equal, AcceptsSpellingsOfOneNumber) {
  const std::pair<const char*, const char*> same[] = {
      {"42", "42"},
      {" 42. ", "42"},
      {"$42$", "42"},
      {"\\$1,234", "1234"},
      {"1,234,567", "1234567"},
      {"1{,}234", "1234"},
      {"0.5", "1/2"},
      {"0.5", "\\frac{1}{2}"},
      {"\\dfrac12", "0.50"},
      {".5", "1 / 2"},
      {"-\\frac{6}{4}", "-1.5"},
      {"\\frac{-3}{2}", "3/-2"},
      {"007", "7"},
      {"2.0", "2"},
      {"50%", "50"},
      {"50\\%", "50 percent"},
      {"42 apples", "42"},
      {"42", "42\\text{ apples}"},
      {"1 apple", "1 Apples"},
      {"\u22125", "-5"},
      {"+5", "5"},
      {"-0", "0"},
      {"90^\\circ", "90"},
      {"{42}", "42"},
      {"123456789012345678", "123,456,789,012,345,678"},
      {"0.1234567890", "123456789/1000000000"},
      {"1234567890123456789012345", "1234567890123456789012345."},
  };
  for (const auto& [a, b] : same) {
    EXPECT_TRUE(equal(a, b)) << a << " and " << b;
    EXPECT_TRUE(equal(b, a)) << b << " and " << a;
  }
}

TEST(Equal, RejectsWhatDiffers) {
  const std::pair<const char*, const char*> different[] = {
      {"42", "43"},
      {"42", "-42"},
      {"0.333", "1/3"},
      {"0.3333333333333333", "1/3"},
      {"1/0", "1"},
      {"1/0", "2/0"},
      {"12 km", "12 m"},
      {"42 apples", "42 pears"},
      {"2x", "2"},
      {"2 x", "2"},
      {"2 pi", "2"},
      {"2 million", "2"},
      {"3 + 4", "3"},
      {"5 -", "5"},
      {"", "0"},
      {"12", "1,2"},
      {"1234,567", "1234567"},
      {"1.2.3", "1.2"},
      {"9:05", "9"},
      {"10:15", "10:51"},
      {"1234567890123456789012345", "1234567890123456789012346"},
      {"0.00000000000000000001", "0"},
  };
  for (const auto& [a, b] : different) {
    EXPECT_FALSE(equal(a, b)) << a << " and " << b;
    EXPECT_FALSE(equal(b, a)) << b << " and " << a;
  }
}

TEST(Equal, ComparesWordsFormulasAndLists) {
  EXPECT_TRUE(equal("Concert", "the concert."));
  EXPECT_TRUE(equal("ice  cream", "Ice cream"));
  EXPECT_TRUE(equal("\\text{Tuesday}", "tuesday"));
  EXPECT_FALSE(equal("concert", "concerts"));
  EXPECT_TRUE(equal("x + 1", "x+1"));
  EXPECT_FALSE(equal("X+1", "x+1"));
  EXPECT_TRUE(equal("Ana, 18", "ana,18 apples"));
  EXPECT_FALSE(equal("Ana, 18", "18, Ana"));
  EXPECT_FALSE(equal("Ana, 18", "Ana"));
  EXPECT_TRUE(equal("12, 45, 93", "12,45,93"));
  EXPECT_FALSE(equal("12, 45, 93", "12, 93, 45"));
  EXPECT_FALSE(equal("12, 45, 93", "12, 45"));
  EXPECT_TRUE(equal("(0.5, 2)", "\\left(\\frac{1}{2},2\\right)"));
  EXPECT_FALSE(equal("(1, 2)", "[1, 2]"));
  EXPECT_FALSE(equal("(1, 2)", "1, 2"));
}

TEST(EndsInsideAnswer, WhereMoreTextCouldChangeIt) {
  for (const char* text : {
           "10 + 2 = 12\n#### 12", "10 + 2 = 12\n####", "#### 12, 45,", "#### 12 ", "#### ", "so \\boxed{12",
           "so \\boxed{12 ", "\\boxed{\\frac{1}{2}", "The answer is 12", "The answer is 12.", "The answer is",
           "Answer: 3,", "10 + 2 = 12", "it is 12.", "it is 1,",  // the last by their last number
       }) {
    EXPECT_TRUE(ends_inside_answer(text)) << text;
  }
}

TEST(EndsInsideAnswer, NotWhereItIsComplete) {
  for (const char* text :
       {"#### 12\n", "#### 12\nAnd now", "so \\boxed{12}", "so \\boxed{12}, as", "The answer is 12. ",
        "The answer is 12.\nNext", "it is 12 and", "it is 12. ", "no number", "", ".", ","}) {
    EXPECT_FALSE(ends_inside_answer(text)) << text;
  }
  // Whatever follows a complete answer in its own line leaves it.
  for (const char* more : {"0", "00 apples", "}", ".5", "\n"}) {
    EXPECT_EQ(extract(std::string("#### 12\nAnd") + more), extract("#### 12\nAnd"));
  }
}

TEST(Equal, LongTextsCompareVerbatim) {
  const std::string digits(kMaxLength + 1, '1');
  EXPECT_TRUE(equal(digits, " " + digits));
  EXPECT_FALSE(equal(digits, digits + "."));
}

TEST(Equal, IsReflexiveAndSymmetricOnArbitraryText) {
  const std::string alphabet = "0123456789.,-+/\\{}()[]$% fracxthe";
  std::mt19937 random(1);
  std::vector<std::string> texts(400);
  for (auto& text : texts) {
    for (unsigned length = random() % 12; length > 0; --length) text += alphabet[random() % alphabet.size()];
  }
  for (const auto& a : texts) {
    EXPECT_TRUE(equal(a, a)) << a;
    for (const auto& b : texts) EXPECT_EQ(equal(a, b), equal(b, a)) << a << " and " << b;
  }
}

// Real data: every GSM8K solution states its answer, and those answers are integers.
TEST(Gsm8k, EveryAnswerIsExtractedAndEqualsItself) {
  const char* data = std::getenv("RQAT_DATA");
  if (data == nullptr) GTEST_SKIP() << "RQAT_DATA is not set: no GSM8K files to read";
  for (const auto& [name, records] : {std::pair<const char*, int>{"train.jsonl", 7473}, {"test.jsonl", 1319}}) {
    std::ifstream file(std::string(data) + "/tasks/gsm8k/" + name);
    ASSERT_TRUE(file.good()) << name;
    std::string line;
    int seen = 0;
    while (std::getline(file, line)) {
      ++seen;
      const std::string solution = nlohmann::json::parse(line).at("answer");
      const std::string tail = solution.substr(solution.rfind("#### ") + 5);
      const auto found = extract(solution);
      ASSERT_TRUE(found.has_value()) << name << ":" << seen;
      std::string digits = tail;
      std::erase(digits, ',');
      EXPECT_TRUE(equal(*found, std::to_string(std::stoll(digits)))) << name << ":" << seen << ": " << *found;
      EXPECT_FALSE(equal(*found, std::to_string(std::stoll(digits) + 1))) << name << ":" << seen;
      EXPECT_TRUE(equal(*last_number(solution), digits)) << name << ":" << seen;
    }
    EXPECT_EQ(seen, records) << name;
  }
}

}  // namespace
}  // namespace rqat::answer
