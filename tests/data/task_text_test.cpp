#include "data/task_text.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace rqat::data {
namespace {

TEST(Render, ReplacesEverySlot) {
  Slots slots;
  slots.set("name", "Tom");
  slots.set("a", 12);
  EXPECT_EQ(render("{name} has {a}{a}.", slots), "Tom has 1212.");
  EXPECT_EQ(render("", slots), "");
  EXPECT_EQ(render("plain", slots), "plain");
}

TEST(Render, FaultyWordingThrows) {
  Slots slots;
  slots.set("a", 1);
  EXPECT_THROW(render("{b}", slots), std::logic_error);
  EXPECT_THROW(render("{a", slots), std::logic_error);
}

TEST(Numbers, SplitsShareNothingFromTenUp) {
  base::Rng rng(1);
  std::set<int64_t> train, test;
  for (int i = 0; i < 5000; ++i) {
    train.insert(operand(rng, Split::kTrain));
    test.insert(operand(rng, Split::kTest));
    train.insert(group_size(rng, Split::kTestInDistribution));
    test.insert(group_size(rng, Split::kTest));
    const int64_t count = factor(rng);
    EXPECT_TRUE(count >= 2 && count <= 9) << count;
  }
  for (const int64_t number : train) EXPECT_FALSE(test.contains(number)) << number;
  EXPECT_EQ(train.size(), 67u);  // 3..39 and 60..89
  EXPECT_EQ(test.size(), 30u);   // 40..59 and 90..99
}

TEST(Numbers, DistinctOperandsDiffer) {
  base::Rng rng(2);
  for (int i = 0; i < 200; ++i) {
    const auto numbers = distinct_operands(rng, Split::kTest, 5);
    EXPECT_EQ(std::set<int64_t>(numbers.begin(), numbers.end()).size(), 5u);
  }
}

class OneWording : public WordingTask {
 public:
  OneWording() : WordingTask("one_wording", kTable, kTable) {}

 protected:
  Work fill(const Wording& wording, Split, base::Rng& rng, Slots& slots) const override {
    slots.set("n", rng.integer(1, 1000000));
    return {base::cat("{n} = {n} ", wording.unit, "."), "{n}"};
  }
  static constexpr Wording kTable[] = {
      {0, "{name}, {name2}, {name3}: {he} {He} {his} {items} {item} {boxes} {box} {n}?"},
  };
};

TEST(WordingTask, FillsTheCastAndEndsWithTheAnswer) {
  base::Rng rng(3);
  const Problem problem = OneWording().generate(rng, Split::kTest);
  EXPECT_EQ(problem.family, "one_wording");
  EXPECT_EQ(problem.question.find('{'), std::string::npos);
  EXPECT_TRUE(problem.solution.ends_with("\n#### " + problem.answer)) << problem.solution;
  EXPECT_TRUE(problem.solution.starts_with(problem.answer + " = " + problem.answer + " ")) << problem.solution;
}

TEST(WordingTask, HashOfTheQuestionPartsTrainFromInDistributionTest) {
  const OneWording family;
  for (uint64_t i = 0; i < 2000; ++i) {
    base::Rng train(4, "x", i), test(4, "x", i);
    EXPECT_NE(base::stable_hash(family.generate(train, Split::kTrain).question) % 8, 0u);
    EXPECT_EQ(base::stable_hash(family.generate(test, Split::kTestInDistribution).question) % 8, 0u);
  }
}

}  // namespace
}  // namespace rqat::data
