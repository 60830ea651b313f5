#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/support.h"
#include "rqat/base/error.h"
#include "rqat/data/dataset.h"

namespace rqat::data {
namespace {

using base::expect_contains;
using base::message_of;

class FileRecords : public testing::Test {
 protected:
  std::vector<Record> load(const std::string& lines, int64_t num_examples = 100) {
    std::ofstream(folder_ / "set.jsonl", std::ios::binary) << lines;
    DataConfig config;
    config.file = (folder_ / "set.jsonl").string();
    config.num_examples = num_examples;
    return load_records(config, 1);
  }
  std::string fault(const std::string& lines) {
    return message_of<base::DataError>([&] { load(lines); });
  }
  base::TemporaryFolder folder_;
};

TEST_F(FileRecords, AllThreeShapes) {
  const auto records = load(
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q1"}, {"role": "assistant", "content": "A1"}]}
{"messages": [{"role": "user", "content": "Q2"}, {"role": "assistant", "content": "A2"}], "more": 1}

{"prompt": "Q3", "completion": "A3"}
{"question": "Q4", "answer": "A4"}
)");
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].system, "S");
  EXPECT_EQ(records[1].system, "");
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].prompt, "Q" + std::to_string(i + 1));
    EXPECT_EQ(records[i].response, "A" + std::to_string(i + 1));
    EXPECT_TRUE(records[i].problem.family.empty());
  }
}

TEST_F(FileRecords, TakesTheFirstRecordsAndWindowsLineEnds) {
  const auto records =
      load("{\"question\": \"a\", \"answer\": \"b\"}\r\n{\"question\": \"c\", \"answer\": \"d\"}\r\nnot read", 2);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].response, "d");
}

TEST_F(FileRecords, FaultsNameFileAndLine) {
  const std::string good = "{\"question\": \"a\", \"answer\": \"b\"}\n\n";
  expect_contains(fault(good + "{\"question\": \"a\""), "set.jsonl:3: not a JSON object");
  expect_contains(fault(good + "[1]"), "set.jsonl:3: not a JSON object");
  expect_contains(fault(good + "{\"text\": \"a\"}"),
                  "set.jsonl:3: a record needs `messages`, `prompt` + `completion`, or `question` + `answer`");
  expect_contains(fault(good + "{\"question\": \"a\"}"), "set.jsonl:3: `answer` is missing or not text");
  expect_contains(fault(good + "{\"prompt\": 3, \"completion\": \"x\"}"),
                  "set.jsonl:3: `prompt` is missing or not text");
  expect_contains(fault(good + "{\"prompt\": \" \", \"completion\": \"x\"}"), "set.jsonl:3: the question is empty");
  expect_contains(fault(good + "{\"question\": \"x\", \"answer\": \"\"}"), "set.jsonl:3: the answer is empty");
  expect_contains(fault(good + "\xff{}"), "set.jsonl:3: not a JSON object");
}

TEST_F(FileRecords, ConversationsThatWouldLoseTurnsAreRefused) {
  const auto messages = [](const std::vector<std::string>& roles) {
    std::string text;
    for (const std::string& role : roles)
      text += (text.empty() ? "" : ", ") + ("{\"role\": \"" + role + "\", \"content\": \"x\"}");
    return "{\"messages\": [" + text + "]}";
  };
  expect_contains(fault(messages({"user", "assistant", "user", "assistant"})),
                  "set.jsonl:1: `messages` must be one user turn and one assistant turn");
  expect_contains(fault(messages({"user", "assistant", "user"})), "found user, assistant, user");
  expect_contains(fault(messages({"user"})), "found user");
  expect_contains(fault(messages({"user", "tool"})), "found user, tool");
  expect_contains(fault(messages({})), "found none");
  expect_contains(fault("{\"messages\": 3}"), "found none");
  expect_contains(fault("{\"messages\": [1, 2]}"), "`role` is missing or not text");
}

TEST_F(FileRecords, EmptyAndMissingFiles) {
  expect_contains(fault("\n \n"), "set.jsonl gave no record: the data set is empty");
  DataConfig config;
  config.file = (folder_ / "none.jsonl").string();
  expect_contains(message_of<base::IoError>([&] { load_records(config, 1); }), "none.jsonl: cannot be opened");
  config.file = folder_.path().string();
  expect_contains(message_of<base::IoError>([&] { load_records(config, 1); }), "cannot be opened");
}

TEST(GeneratedRecords, SeedsAddUpAndProblemsAreVerifiable) {
  DataConfig config;
  config.generators = {"chain_sums", "comparison"};
  config.num_examples = 20;
  const auto first = load_records(config, 5);
  ASSERT_EQ(first.size(), 20u);
  EXPECT_EQ(first[0].family, "chain_sums");
  EXPECT_EQ(first[1].family, "comparison");
  config.seed = 2;
  const auto moved = load_records(config, 3), other = load_records(config, 4);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].prompt, moved[i].prompt);
    EXPECT_TRUE(check_response(first[i], first[i].response));
    EXPECT_FALSE(check_response(first[i], "#### nothing of the kind"));
  }
  EXPECT_NE(first[0].prompt, other[0].prompt);
}

TEST(CheckResponse, OfFilesByMarkedOrBareAnswer) {
  Record record;
  record.response = "6 * 7 = 42\n#### 42";
  EXPECT_TRUE(check_response(record, "thus \\boxed{42}"));
  EXPECT_FALSE(check_response(record, "thus \\boxed{41}"));
  EXPECT_FALSE(check_response(record, "42")) << "an answer that is not marked does not count";
  record.response = "0.5";
  EXPECT_TRUE(check_response(record, "\\boxed{\\frac{1}{2}}"));
  EXPECT_FALSE(check_response(record, "\\boxed{2}"));
}

TEST(CheckResponse, OfGeneratorsByLastNumberWhereNothingIsMarked) {
  DataConfig config;
  config.generators = {"chain_sums"};
  config.num_examples = 1;
  const Record record = load_records(config, 1)[0];
  EXPECT_TRUE(check_response(record, "I think it is " + record.problem.answer));
  EXPECT_FALSE(check_response(record, "I think it is " + record.problem.answer + "1"));
  EXPECT_FALSE(check_response(record, "no idea"));
}

TEST(DataConfig, EitherGeneratorsOrFile) {
  DataConfig config;
  ASSERT_EQ(config.check().size(), 1u);
  expect_contains(config.check()[0], "not neither");
  config.file = "a.jsonl";
  EXPECT_TRUE(config.check().empty());
  config.generators = {"chain_sums", "chain_sum"};
  ASSERT_EQ(config.check().size(), 2u);
  expect_contains(config.check()[1], "did you mean 'chain_sums'?");
}

}  // namespace
}  // namespace rqat::data
