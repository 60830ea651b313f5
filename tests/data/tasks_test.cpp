#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "rqat/base/error.h"
#include "rqat/data/task.h"

namespace rqat::data {
namespace {

constexpr Split kSplits[] = {Split::kTrain, Split::kTest, Split::kTestInDistribution};
constexpr int64_t kCount = 3000;

const std::vector<Problem>& problems_of(const std::string& family, Split split) {
  static std::map<std::pair<std::string, Split>, std::vector<Problem>> cache;
  auto& problems = cache[{family, split}];
  if (problems.empty()) problems = generate_problems(std::vector<std::string>{family}, split, kCount, 42);
  return problems;
}

std::vector<int64_t> integers_in(const std::string& text) {
  static const std::regex kInteger("[0-9]+");
  std::vector<int64_t> found;
  for (std::sregex_iterator at(text.begin(), text.end(), kInteger), end; at != end; ++at) {
    found.push_back(std::stoll(at->str()));
  }
  return found;
}

bool holds(int64_t a, char op, int64_t b, int64_t result) {
  switch (op) {
    case '+':
      return a + b == result;
    case '-':
      return a - b == result;
    case '*':
      return a * b == result;
    default:
      return b * result == a;
  }
}

class Family : public testing::TestWithParam<std::string> {};

TEST_P(Family, SolutionsAreCheckable) {
  const std::regex equation("([0-9]+) ([-+*/]) ([0-9]+) = ([0-9]+)");
  const std::regex order("([0-9]+) ([<>]) (?=([0-9]+))");
  for (const Split split : kSplits) {
    for (const auto& p : problems_of(GetParam(), split)) {
      int claims = 0;
      for (std::sregex_iterator at(p.solution.begin(), p.solution.end(), equation), end; at != end; ++at, ++claims) {
        const auto& m = *at;
        EXPECT_TRUE(holds(std::stoll(m[1]), m[2].str()[0], std::stoll(m[3]), std::stoll(m[4]))) << p.solution;
      }
      for (std::sregex_iterator at(p.solution.begin(), p.solution.end(), order), end; at != end; ++at, ++claims) {
        const int64_t left = std::stoll((*at)[1]), right = std::stoll((*at)[3]);
        EXPECT_TRUE((*at)[2] == "<" ? left < right : left > right) << p.solution;
      }
      claims += p.solution.starts_with("In order: ") ? 1 : 0;
      EXPECT_GT(claims, 0) << p.solution;
      EXPECT_EQ(static_cast<size_t>(std::count(p.solution.begin(), p.solution.end(), '=')) +
                    static_cast<size_t>(std::count(p.solution.begin(), p.solution.end(), '<')) +
                    static_cast<size_t>(std::count(p.solution.begin(), p.solution.end(), '>')) +
                    (p.solution.starts_with("In order: ") ? 1 : 0),
                static_cast<size_t>(claims))
          << "a claim that this test does not read: " << p.solution;
      for (const char* negative : {"= -", "#### -", "(-"}) EXPECT_EQ(p.solution.find(negative), std::string::npos);
    }
  }
}

TEST_P(Family, CheckAcceptsTheSolutionAndNothingElse) {
  const auto family = tasks().make(GetParam());
  for (const Split split : kSplits) {
    const auto& problems = problems_of(GetParam(), split);
    for (size_t i = 0; i < problems.size(); ++i) {
      const auto& p = problems[i];
      EXPECT_TRUE(family->check(p, p.solution)) << p.solution;
      EXPECT_TRUE(p.solution.ends_with("\n#### " + p.answer)) << p.solution;
      EXPECT_TRUE(family->check(p, "So the answer is " + p.answer + ".")) << p.answer;
      EXPECT_FALSE(family->check(p, p.solution + "x")) << p.solution;
      EXPECT_FALSE(family->check(p, p.solution.substr(0, p.solution.rfind('\n')))) << p.solution;
      EXPECT_FALSE(family->check(p, "")) << p.solution;
      const auto& other = problems[(i + 1) % problems.size()];
      EXPECT_EQ(family->check(p, other.solution), other.answer == p.answer) << p.answer << ", " << other.answer;
    }
  }
}

TEST_P(Family, WordingsAreManyAndThoseOfTheTestAreReserved) {
  std::map<Split, std::set<uint64_t>> ids;
  for (const Split split : kSplits) {
    for (const auto& p : problems_of(GetParam(), split)) ids[split].insert(p.template_id);
  }
  EXPECT_GE(ids[Split::kTrain].size(), kMinTrainWordings);
  EXPECT_GE(ids[Split::kTest].size(), kMinTestWordings);
  EXPECT_EQ(ids[Split::kTrain], ids[Split::kTestInDistribution]);
  for (const uint64_t id : ids[Split::kTest]) EXPECT_FALSE(ids[Split::kTrain].contains(id));
}

TEST_P(Family, TestNumbersNeverOccurInTraining) {
  if (GetParam() == "temporal_ordering") return;  // has its own test below
  std::map<bool, std::set<int64_t>> numbers;
  for (const Split split : kSplits) {
    for (const auto& p : problems_of(GetParam(), split)) {
      int64_t above_nine = 0;
      for (const int64_t number : integers_in(p.question)) {
        if (number >= 10) numbers[split == Split::kTest].insert(number), ++above_nine;
      }
      EXPECT_GE(above_nine, split == Split::kTest ? 1 : 0) << p.question;
    }
  }
  for (const int64_t number : numbers[true]) EXPECT_FALSE(numbers[false].contains(number)) << number;
  EXPECT_GT(numbers[true].size(), 20u);
  EXPECT_GT(numbers[false].size(), 40u);
}

TEST_P(Family, QuestionsReadWell) {
  const std::regex one_of_many("(^|[^0-9:])1 [a-z]+s\\b");
  for (const Split split : kSplits) {
    for (const auto& p : problems_of(GetParam(), split)) {
      for (const auto& text : {p.question, p.solution}) {
        EXPECT_EQ(text.find_first_of("{}"), std::string::npos) << text;
        EXPECT_EQ(text.find("  "), std::string::npos) << text;
        EXPECT_FALSE(std::regex_search(text, one_of_many)) << text;
      }
      EXPECT_TRUE(p.question.ends_with('?') || p.question.ends_with('.')) << p.question;
      const auto first = static_cast<unsigned char>(p.question.front());
      EXPECT_TRUE(std::isupper(first) || std::isdigit(first)) << p.question;
      EXPECT_LE(p.question.size(), 160u) << p.question;
      EXPECT_LE(p.solution.size(), 100u) << p.solution;
    }
  }
}

TEST_P(Family, SplitsShareNoQuestion) {
  std::set<std::string> train;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    for (auto& p : generate_problems(std::vector<std::string>{GetParam()}, Split::kTrain, kCount, seed)) {
      train.insert(std::move(p.question));
    }
  }
  for (const Split split : {Split::kTest, Split::kTestInDistribution}) {
    for (const auto& p : problems_of(GetParam(), split)) EXPECT_FALSE(train.contains(p.question)) << p.question;
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, Family, testing::ValuesIn(tasks().names()),
                         [](const auto& info) { return info.param; });

TEST(Tasks, AllFamiliesOfTheIssueAreListed) {
  EXPECT_EQ(tasks().names(), (std::vector<std::string>{"one_step_word", "two_step_word", "chain_sums",
                                                       "multiply_grouping", "comparison", "temporal_ordering"}));
  for (const auto& name : tasks().names()) EXPECT_EQ(tasks().make(name)->name(), name);
}

// The sum as written in the question, evaluated from left to right without the family's help.
TEST(ChainSums, AnswerIsTheSumInTheQuestion) {
  const std::regex sum("[0-9]+( [-+] [0-9]+)+");
  const std::regex term("([-+]?) ?([0-9]+)");
  int seen = 0;
  for (const auto& p : problems_of("chain_sums", Split::kTrain)) {
    std::smatch match;
    if (!std::regex_search(p.question, match, sum)) continue;
    const std::string text = match.str();
    int64_t total = 0;
    for (std::sregex_iterator at(text.begin(), text.end(), term), end; at != end; ++at) {
      const int64_t value = std::stoll((*at)[2]);
      total += (*at)[1] == "-" ? -value : value;
    }
    EXPECT_EQ(std::to_string(total), p.answer) << p.question;
    ++seen;
  }
  EXPECT_GT(seen, kCount / 2);
}

TEST(MultiplyGrouping, AnswerIsTheProductOfTheTwoNumbers) {
  for (const Split split : kSplits) {
    for (const auto& p : problems_of("multiply_grouping", split)) {
      const auto numbers = integers_in(p.question);
      ASSERT_GE(numbers.size(), 2u) << p.question;
      const std::set<int64_t> different(numbers.begin(), numbers.end());
      ASSERT_EQ(different.size(), 2u) << p.question;
      EXPECT_EQ(std::to_string(*different.begin() * *different.rbegin()), p.answer) << p.question;
    }
  }
}

// Reads the three moments back from the question: each follows its event by a few words.
TEST(TemporalOrdering, OrderIsThatOfTheQuestion) {
  const std::vector<std::string> days = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  const std::regex entry("([a-z]+) ([A-Z0-9][A-Za-z0-9:]*)[,.]");
  const auto rank = [&](const std::string& when) -> int64_t {
    const auto day = std::find(days.begin(), days.end(), when);
    if (day != days.end()) return day - days.begin();
    const auto numbers = integers_in(when);
    return numbers.size() == 2 ? numbers[0] * 60 + numbers[1] : numbers.at(0);
  };
  int seen = 0;
  for (const Split split : kSplits) {
    for (const auto& p : problems_of("temporal_ordering", split)) {
      if (!p.solution.starts_with("In order: ")) continue;
      const std::string list = p.solution.substr(10, p.solution.find('\n') - 10);
      std::vector<std::string> events;
      std::vector<int64_t> ranks;
      for (std::sregex_iterator at(list.begin(), list.end(), entry), end; at != end; ++at) {
        const size_t event = p.question.find(" " + (*at)[1].str() + " ");
        ASSERT_NE(event, std::string::npos) << p.question;
        const size_t when = p.question.find((*at)[2].str(), event);
        ASSERT_NE(when, std::string::npos) << p.question;
        EXPECT_LE(when - event, (*at)[1].str().size() + 16) << p.question << "\n" << list;
        events.push_back((*at)[1]);
        ranks.push_back(rank((*at)[2]));
      }
      ASSERT_EQ(ranks.size(), 3u) << list;
      EXPECT_TRUE(ranks[0] < ranks[1] && ranks[1] < ranks[2]) << list;
      EXPECT_TRUE(p.answer == events[0] || p.answer == events[2]) << p.solution;
      const std::regex late("last|latest|newest|at the end|final|longest|most recent");
      EXPECT_EQ(std::regex_search(p.question, late) ? events[2] : events[0], p.answer) << p.question;
      ++seen;
    }
  }
  EXPECT_GT(seen, 2 * kCount);
}

TEST(TemporalOrdering, TestMomentsNeverOccurInTraining) {
  const std::regex clock("([0-9]+):([0-9]{2})");
  const std::regex year("\\b(1[789]|20)[0-9]{2}\\b");
  std::map<bool, std::set<std::string>> minutes, years;
  for (const Split split : kSplits) {
    const bool test = split == Split::kTest;
    for (const auto& p : problems_of("temporal_ordering", split)) {
      const auto& q = p.question;
      for (std::sregex_iterator at(q.begin(), q.end(), clock), end; at != end; ++at) minutes[test].insert((*at)[2]);
      for (std::sregex_iterator at(q.begin(), q.end(), year), end; at != end; ++at) years[test].insert(at->str());
    }
  }
  for (const auto& minute : minutes[true]) EXPECT_FALSE(minutes[false].contains(minute)) << minute;
  for (const bool test : {false, true}) {
    for (const auto& text : years[test]) {
      const int y = std::stoi(text);
      EXPECT_EQ((y >= 1850 && y < 1900) || (y >= 1980 && y < 2020), test) << y;
    }
  }
  EXPECT_EQ(minutes[true].size(), 12u);
  EXPECT_EQ(minutes[false].size(), 14u);
  EXPECT_GT(years[true].size(), 60u);
}

TEST(GenerateProblems, GoesRoundTheFamiliesWithoutRepeats) {
  const auto names = tasks().names();
  const auto problems = generate_problems(names, Split::kTest, 1200, 7);
  ASSERT_EQ(problems.size(), 1200u);
  std::set<std::string> questions;
  for (size_t i = 0; i < problems.size(); ++i) {
    EXPECT_EQ(problems[i].family, names[i % names.size()]);
    EXPECT_TRUE(questions.insert(problems[i].question).second) << problems[i].question;
  }
}

TEST(GenerateProblems, IsSeededPerIndex) {
  const auto names = tasks().names();
  const auto many = generate_problems(names, Split::kTrain, 300, 7);
  const auto few = generate_problems(names, Split::kTrain, 100, 7);
  const auto other = generate_problems(names, Split::kTrain, 100, 8);
  int same = 0;
  for (size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].question, many[i].question);
    EXPECT_EQ(few[i].solution, many[i].solution);
    same += few[i].question == other[i].question ? 1 : 0;
  }
  EXPECT_LT(same, 3);
  EXPECT_TRUE(generate_problems(names, Split::kTrain, 0, 7).empty());
}

class ThreeQuestions : public TaskFamily {
 public:
  std::string_view name() const override { return "three_questions"; }
  Problem generate(base::Rng& rng, Split) const override {
    const std::string question = std::to_string(rng.integer(1, 3));
    return {"three_questions", question, "#### " + question, question, 1};
  }
};

TEST(GenerateProblems, SaysWhenAFamilyHasNoMoreQuestions) {
  const std::vector<std::shared_ptr<const TaskFamily>> families = {std::make_shared<ThreeQuestions>()};
  EXPECT_EQ(generate_problems(families, Split::kTrain, 3, 1).size(), 3u);
  try {
    generate_problems(families, Split::kTest, 4, 1);
    FAIL() << "four different questions out of three";
  } catch (const base::DataError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("three_questions"), std::string::npos) << text;
    EXPECT_NE(text.find("split test"), std::string::npos) << text;
    EXPECT_NE(text.find("ask for fewer"), std::string::npos) << text;
  }
}

TEST(GenerateProblems, RefusesBadArguments) {
  EXPECT_THROW(generate_problems(std::vector<std::string>{}, Split::kTrain, 1, 1), base::ConfigError);
  EXPECT_THROW(generate_problems(tasks().names(), Split::kTrain, -1, 1), base::ConfigError);
  try {
    generate_problems(std::vector<std::string>{"chain_sum"}, Split::kTrain, 1, 1);
    FAIL() << "an unknown family was accepted";
  } catch (const base::ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("chain_sums"), std::string::npos) << error.what();
  }
}

TEST(SplitName, ReadsBack) {
  for (const Split split : kSplits) EXPECT_EQ(split_from_name(split_name(split)), split);
  EXPECT_THROW(split_from_name("validation"), base::ConfigError);
}

}  // namespace
}  // namespace rqat::data
