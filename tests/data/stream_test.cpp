#include "rqat/data/stream.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "base/support.h"
#include "data/fake_text.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/data/feed.h"

namespace rqat::data {
namespace {

using base::expect_contains;
using base::message_of;

const ByteTokenizer kTokenizer;
const LetterTemplate kChat;

class Streams : public testing::Test {
 protected:
  static void SetUpTestSuite() { base::set_log_level(base::LogLevel::kError); }
  static void TearDownTestSuite() { base::set_log_level(base::LogLevel::kInfo); }

  /// A file of records "NAME0", "NAME1", ...
  DataConfig file(const std::string& name, int64_t count) {
    std::string lines;
    for (int64_t i = 0; i < count; ++i)
      lines += "{\"question\": \"" + name + std::to_string(i) + "\", \"answer\": \"x\"}\n";
    base::write_file(folder_ / (name + ".jsonl"), lines);
    DataConfig config;
    config.file = (folder_ / (name + ".jsonl")).string();
    return config;
  }

  static DataConfig mixture(const std::vector<std::pair<double, DataConfig>>& parts) {
    DataConfig config;
    for (const auto& [weight, part] : parts)
      config.parts.push_back({part.file, weight, std::make_shared<DataConfig>(part)});
    return config;
  }

  static std::vector<std::string> prompts(const DataConfig& config) {
    std::vector<std::string> all;
    for (const Record& record : load_records(config, 1)) all.push_back(record.prompt);
    return all;
  }

  StreamFeed feed(const DataConfig& config, uint64_t seed = 7) {
    return StreamFeed(open_records(config, 1), config, kTokenizer, kChat, seed);
  }

  static std::vector<std::string> draw(ExampleFeed& feed, int64_t count) {
    std::vector<std::string> drawn;
    for (int64_t i = 0; i < count; ++i) {
      const FedExample fed = feed.next();
      drawn.push_back(kTokenizer.decode(fed.example->ids, false));
    }
    return drawn;
  }

  base::TemporaryFolder folder_;
};

TEST_F(Streams, FilesOfAPatternInOrderUpToTheLimit) {
  file("b", 2);
  DataConfig config = file("a", 2);
  config.file = (folder_ / "*.jsonl").string();
  EXPECT_EQ(prompts(config), (std::vector<std::string>{"a0", "a1", "b0", "b1"}));
  EXPECT_EQ(count_records(config, 1), 4);
  config.num_examples = 3;
  EXPECT_EQ(prompts(config), (std::vector<std::string>{"a0", "a1", "b0"}));
  EXPECT_EQ(count_records(config, 1), 3);
}

TEST_F(Streams, MixturesKeepTheirSharesAllTheTime) {
  DataConfig config = mixture({{3, file("a", 30)}, {1, file("b", 30)}});
  const std::vector<std::string> all = prompts(config);
  ASSERT_EQ(all.size(), 40u) << "30 of a and the 10 of b that belong to them; the next would be a31";
  std::map<char, int> counts;
  for (size_t i = 0; i < all.size(); ++i) {
    ++counts[all[i][0]];
    EXPECT_NEAR(counts['b'], 0.25 * static_cast<double>(i + 1), 1.0) << i;
  }
  EXPECT_EQ(count_records(config, 1), 40);
}

TEST_F(Streams, PartsBeginAnewWhereSoManyExamplesAreAskedFor) {
  DataConfig config = mixture({{1, file("a", 3)}, {1, file("b", 100)}});
  config.num_examples = 12;
  const std::vector<std::string> all = prompts(config);
  ASSERT_EQ(all.size(), 12u);
  EXPECT_EQ(std::count(all.begin(), all.end(), "a0"), 2);
  EXPECT_EQ(std::count(all.begin(), all.end(), "b5"), 1);
  config.parts[0].data = std::make_shared<DataConfig>(file("none", 0));
  expect_contains(message_of<base::DataError>([&] { prompts(config); }), "of the mixture gave no record");
}

TEST_F(Streams, MixturesAddWhatTheirPartsSay) {
  DataConfig part = file("a", 1), generated;
  part.system_prompt = "S";
  part.instruction = "Think.";
  generated.generators = {"chain_sums"};
  generated.num_examples = 1;
  const auto records = load_records(mixture({{1, part}, {1, generated}}), 1);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].system, "S");
  EXPECT_EQ(records[0].prompt, "a0\nThink.");
  EXPECT_EQ(records[1].family, "chain_sums");
}

TEST_F(Streams, EachEpochShowsEachRecordOnceInAnotherOrder) {
  DataConfig config = file("a", 50);
  config.shuffle_buffer = 8;
  StreamFeed stream = feed(config);
  const auto first = draw(stream, 50), second = draw(stream, 50);
  EXPECT_NE(first, second);
  EXPECT_EQ(std::set<std::string>(first.begin(), first.end()).size(), 50u);
  EXPECT_EQ(std::set<std::string>(second.begin(), second.end()).size(), 50u);
  StreamFeed again = feed(config), other = feed(config, 8);
  EXPECT_EQ(draw(again, 50), first);
  EXPECT_NE(draw(other, 50), first);
  config.shuffle_buffer = 1;
  StreamFeed in_order = feed(config);
  EXPECT_EQ(draw(in_order, 3)[2], "u:a2|\na:x|");
}

/// Interrupted anywhere, in any epoch, also where examples are dropped and parts of a mixture begin anew.
TEST_F(Streams, AnyCursorGoesOnExactly) {
  DataConfig plain = file("a", 23), mixed = mixture({{2, file("b", 5)}, {1, file("c", 40)}});
  mixed.num_examples = 40;
  plain.too_long = mixed.too_long = "drop";
  plain.max_length = mixed.max_length = 10;  // drops "a10" and longer
  for (DataConfig config : {plain, mixed}) {
    for (const int64_t buffer : {1, 5, 100}) {
      config.shuffle_buffer = buffer;
      StreamFeed whole = feed(config);
      std::vector<int64_t> cursors;
      std::vector<std::string> drawn;
      for (int i = 0; i < 60; ++i) {
        cursors.push_back(whole.cursor());
        drawn.push_back(draw(whole, 1)[0]);
      }
      EXPECT_GT(whole.cursor(), 60) << "some were dropped";
      for (size_t i = 0; i < drawn.size(); i += 3) {
        StreamFeed resumed = feed(config);
        resumed.set_cursor(cursors[i]);
        const std::vector<std::string> rest(drawn.begin() + static_cast<std::ptrdiff_t>(i), drawn.end());
        ASSERT_EQ(draw(resumed, static_cast<int64_t>(rest.size())), rest) << "buffer " << buffer << ", draw " << i;
        EXPECT_EQ(resumed.cursor(), whole.cursor());
      }
    }
  }
}

TEST_F(Streams, FaultsNameTheRecord) {
  DataConfig config = file("a", 12);
  config.shuffle_buffer = 1;
  config.max_length = 10;
  StreamFeed strict = feed(config);
  draw(strict, 10);
  expect_contains(message_of<base::DataError>([&] { strict.next(); }), "a.jsonl:11): an example has 11 tokens");
  config.too_long = "drop";
  config.max_length = 8;
  StreamFeed none = feed(config);
  expect_contains(message_of<base::DataError>([&] { none.next(); }),
                  "no record of the data can be learned: all are longer than max_length 8");
  const DataConfig nothing = [&] {
    DataConfig empty = file("empty", 0);
    empty.shuffle_buffer = 4;
    return empty;
  }();
  StreamFeed empty = feed(nothing);
  expect_contains(message_of<base::DataError>([&] { empty.next(); }), "the data set is empty");
  expect_contains(message_of<base::DataError>([&] { empty.set_cursor(3); }), "there is no record any more");
}

/// Ends one record earlier each time it is begun anew.
class ShrinkingStream : public RecordStream {
 public:
  bool next(Record& record) override {
    record = Record();
    record.prompt = record.response = "x";
    return skip();
  }
  bool skip() override { return next_ < size_ && ++next_ > 0; }
  void rewind() override {
    next_ = 0;
    --size_;
  }

 private:
  int64_t next_ = 0, size_ = 6;
};

TEST_F(Streams, FilesThatShrinkAreNoticed) {
  DataConfig config;
  config.shuffle_buffer = 4;
  StreamFeed feed(std::make_unique<ShrinkingStream>(), config, kTokenizer, kChat, 1);
  expect_contains(message_of<base::DataError>([&] { feed.set_cursor(4); }), "the data ends earlier than before");
}

TEST(MemoryFeed, IsTheSampler) {
  std::vector<Example> examples(5);
  for (size_t i = 0; i < examples.size(); ++i) examples[i].ids = {static_cast<int64_t>(i)};
  MemoryFeed feed(examples, 3);
  Sampler sampler(5, 3);
  for (int i = 0; i < 12; ++i) {
    const FedExample fed = feed.next();
    EXPECT_EQ(fed.record, sampler.next());
    EXPECT_EQ(fed.example.get(), &examples[static_cast<size_t>(fed.record)]);
    EXPECT_EQ(feed.cursor(), sampler.cursor());
  }
  feed.set_cursor(2);
  sampler.set_cursor(2);
  EXPECT_EQ(feed.next().record, sampler.next());
}

}  // namespace
}  // namespace rqat::data
