#include "rqat/answer/answer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "rqat/base/strings.h"

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

TEST(Extract, HeadingsDoNotBeatBoxesAndSentences) {
  const ExtractCase cases[] = {
      {"\\boxed{5} and so\n\n#### **Conclusion**\n\nThe answer is 5.", "5"},
      {"#### Step 1: Simplify\n#### Step 2: Final Answer\n\\[ \\boxed{42} \\]", "42"},
      {"\\boxed{42}\n#### Step 2: Final Answer", "42"},
      {"#### 1. Setting up\nso \\boxed{7}\n#### 2) Check ####\nit holds", "7"},
      {"#### **Conclusion**\nThe answer is 6.", "6"},
      {"#### Final Answer: \\boxed{8}", "8"},
      {"#### 9\n\n#### Why\nIt is so.", "9"},
      {"#### Tuesday", "Tuesday"},
      {"The answer is Monday? No.\n#### Tuesday\nDone.", "Tuesday"},
  };
  for (const auto& c : cases) EXPECT_EQ(extract(c.response), c.expected) << c.response;
}

TEST(Extract, OfMarkerAndBoxTheLastDecides) {
  for (const char* answer : {"72", "-3", "$18", "\\frac12", "1,000", "**72**", "9:05", "5.", "\u22125", "(1, 2)"}) {
    const std::string stated = base::replace_all(answer, "*", "");
    EXPECT_EQ(extract(base::cat("#### ", answer)), stated);
    EXPECT_EQ(extract(base::cat("So \\boxed{5}.\n#### ", answer)), stated);
    EXPECT_EQ(extract(base::cat("#### ", answer, "\nNo: \\boxed{5}.")), "5");
  }
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
  std::string markers;
  for (int i = 0; i < 300000; ++i) markers += "#### x";
  EXPECT_EQ(extract(markers), "x");
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
      {"1 1/2", "3/2"},
      {"1\\frac{1}{2}", "1.5"},
      {"-2 \\frac34 \\text{ cups}", "-2.75"},
      {"1 000", "1000"},
      {"10\\,000\\,000", "10,000,000"},
      {"1 000 apples", "1000"},
      {"12 a day", "12"},
      {"5 ft", "5"},
      {"28%", "28 pct"},
      {"50 percent", "50"},
      {"3 cu ft", "3"},
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
      {"1 1/2", "11/2"},
      {"1 1/2", "1"},
      {"1 3/2", "2.5"},
      {"1 100/200", "1100/200"},
      {"2 3", "23"},
      {"1 2 3", "123"},
      {"1 0000", "10000"},
      {"0.1 234", "0.1234"},
      {"3 x y", "3"},
      {"3 a b", "3"},
      {"2 xy", "2"},
      {"2 abc", "2"},
      {"2 pqr", "2"},
      {"7 squared", "7"},
      {"2 cubed", "2"},
      {"2 factorial", "2"},
      {"5 less than x", "5"},
      {"5 more than x", "5"},
      {"3 times x", "3"},
      {"50 percent of x", "50"},
      {"2 thirds", "2"},
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
  for (const char* font : {"text", "textit", "textbf", "textrm", "emph", "mathrm"}) {
    EXPECT_TRUE(equal(base::cat("\\", font, "{cat}"), "cat")) << font;
  }
  EXPECT_FALSE(equal("\\rightarrow", "arrow"));
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

std::vector<nlohmann::json> read_records(const std::string& name) {
  std::ifstream file(std::string(std::getenv("RQAT_DATA")) + name);
  EXPECT_TRUE(file.good()) << name;
  std::vector<nlohmann::json> records;
  for (std::string line; std::getline(file, line);) records.push_back(nlohmann::json::parse(line));
  return records;
}

TEST(Math500, EveryAnswerIsExtractedAndEqualsItself) {
  if (std::getenv("RQAT_DATA") == nullptr) GTEST_SKIP() << "RQAT_DATA is not set: no MATH-500 file to read";
  int same = 0;
  for (const auto& record : read_records("/tasks/math500/math500_test.jsonl")) {
    const auto found = extract(record.at("solution").get<std::string>());
    same += found && equal(*found, record.at("answer").get<std::string>()) ? 1 : 0;
  }
  EXPECT_EQ(same, 500);
}

// Verdicts of another grader, which does not know mixed numbers: it calls 1\frac{4}{5} and 1.8 different.
TEST(GradedAnswers, WrongOnesAreNotAccepted) {
  if (std::getenv("RQAT_DATA") == nullptr) GTEST_SKIP() << "RQAT_DATA is not set: no graded answers to read";
  int right = 0;
  for (const auto& record : read_records("/verify/graded_model_answers.jsonl")) {
    const std::string gold = record.at("gold"), answer = record.at("pred");
    const bool mixed = gold == "1\\frac{4}{5}" || gold == "2\\frac{5}{8}";
    if (record.at("equal")) {
      right += equal(gold, answer) ? 1 : 0;
    } else if (!mixed) {
      EXPECT_FALSE(equal(gold, answer)) << gold << " and " << answer;
    }
  }
  EXPECT_GE(right, 1185);
}

}  // namespace
}  // namespace rqat::answer
