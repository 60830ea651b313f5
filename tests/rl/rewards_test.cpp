#include <gtest/gtest.h>

#include "rqat/base/node.h"
#include "rqat/rl/rollout.h"

namespace rqat::rl {
namespace {

data::Record record() {
  data::Record record;
  record.response = "40 + 2 = 42\n#### 42";
  return record;
}

/// Reads `yaml` as the settings of reward `name`.
std::unique_ptr<Reward> make(const std::string& name, const std::string& yaml, base::Faults& faults) {
  base::Component component(name);
  component.config = rewards().find_info(name)->make_config();
  base::read_config(*component.config, base::Node::parse(yaml, "reward"), name, faults);
  return faults.empty() ? rewards().make(component) : nullptr;
}

std::unique_ptr<Reward> make(const std::string& name, const std::string& yaml = "{}") {
  base::Faults faults;
  auto reward = make(name, yaml, faults);
  EXPECT_TRUE(faults.empty());
  return reward;
}

TEST(CorrectnessReward, IsOneForTheRightAnswerAlone) {
  const auto reward = make("correctness");
  EXPECT_EQ(reward->score(record(), "so it is\n#### 42", true), 1);
  EXPECT_EQ(reward->score(record(), "so it is\n#### 43", true), 0);
  EXPECT_EQ(reward->score(record(), "", true), 0);
}

TEST(CorrectnessReward, CutResponseEarnsNothingUnlessAllowed) {
  EXPECT_EQ(make("correctness")->score(record(), "#### 42", false), 0);
  EXPECT_EQ(make("correctness", "{require_finished: false}")->score(record(), "#### 42", false), 1);
}

TEST(FormatReward, AddsItsWeightForTheMarker) {
  const auto reward = make("format", "{weight: 0.25}");
  EXPECT_EQ(reward->score(record(), "#### 42", true), 1.25);
  EXPECT_EQ(reward->score(record(), "#### 41", true), 0.25);
  EXPECT_EQ(reward->score(record(), "the answer is 42", true), 1);
  EXPECT_EQ(reward->score(record(), "I do not know", true), 0);
}

TEST(FormatReward, CutResponseEarnsNothingUnlessAllowed) {
  EXPECT_EQ(make("format")->score(record(), "#### 42", false), 0);
  EXPECT_EQ(make("format", "{require_finished: false}")->score(record(), "#### 42", false), 1.1);
}

TEST(FormatReward, MarkerMayBeChosenButNotEmpty) {
  const auto reward = make("format", "{marker: \"the answer is\", weight: 0.5}");
  EXPECT_EQ(reward->score(record(), "the answer is 42", true), 1.5);
  EXPECT_EQ(reward->score(record(), "#### 42", true), 1);
  base::Faults faults;
  EXPECT_EQ(make("format", "{marker: \"\"}", faults), nullptr);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_NE(faults.lines()[0].find("marker is empty"), std::string::npos);
}

}  // namespace
}  // namespace rqat::rl
