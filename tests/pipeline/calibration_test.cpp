#include "pipeline/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "support/messages.h"

namespace rqat::pipeline {
namespace {

using test::expect_contains;
using test::message_of;
using Ids = std::vector<int64_t>;

/// A token is a byte.
class Bytes : public text::Tokenizer {
 public:
  Ids encode(std::string_view text, bool) const override {
    Ids ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(const Ids& ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::string token_bytes(int64_t id) const override { return {static_cast<char>(id)}; }
  bool is_special(int64_t) const override { return false; }
  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override { return ids; }
  bool decodes_by_token() const override { return true; }
  int64_t vocab_size() const override { return 256; }
  int64_t token_id(std::string_view) const override { return -1; }
  std::string token_text(int64_t id) const override { return token_bytes(id); }
  int64_t bos_id() const override { return -1; }
  int64_t eos_id() const override { return -1; }
};

class Plain : public text::ChatTemplate {
 public:
  std::string name() const override { return "plain"; }
  std::string render(const std::vector<text::Message>& messages, bool) const override {
    return messages.back().content + "=";
  }
  text::RenderedChat render_variables(const nlohmann::ordered_json&) const override { return {}; }
  bool has_generation_blocks() const override { return false; }
  std::string stop_text() const override { return "|"; }
};

class CalibrationTest : public testing::Test {
 protected:
  CalibrationTest() {
    data_.generators = {"chain_sums", "comparison"};
    data_.num_examples = 60;
    data_.max_length = 1000;
    config_.data = "train";
  }
  std::vector<Ids> samples(int64_t seed = 5) { return calibration_samples(config_, data_, bytes_, plain_, seed); }
  /// Every example of the data, by the way of training.
  std::vector<data::Example> examples() {
    return data::encode_examples(data::load_records(data_, 5), data_, bytes_, plain_);
  }
  /// What `action` writes to stderr.
  template <class Action>
  std::string told(Action action) {
    testing::internal::CaptureStderr();
    action();
    return testing::internal::GetCapturedStderr();
  }

  Bytes bytes_;
  Plain plain_;
  data::DataConfig data_;
  CalibrationConfig config_;
};

TEST_F(CalibrationTest, TakesTheFirstExamples) {
  config_.num_samples = 10;
  const auto all = examples();
  const auto found = samples();
  ASSERT_EQ(found.size(), 10u);
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(found[i], all[i].ids);
}

// Too long examples are dropped before they are counted: as many as asked for remain while the data lasts.
TEST_F(CalibrationTest, DropsBeforeItCounts) {
  std::vector<size_t> lengths;
  for (const data::Example& example : examples()) lengths.push_back(example.ids.size());
  std::vector<size_t> sorted = lengths;
  std::sort(sorted.begin(), sorted.end());
  data_.max_length = static_cast<int64_t>(sorted[30]);
  data_.too_long = "drop";
  const auto short_ones = std::count_if(lengths.begin(), lengths.end(), [&](size_t n) { return n <= sorted[30]; });
  config_.num_samples = 25;
  EXPECT_EQ(told([&] { EXPECT_EQ(samples().size(), 25u); }).find("instead of"), std::string::npos);
  config_.num_samples = 55;
  expect_contains(
      told([&] { EXPECT_EQ(samples().size(), static_cast<size_t>(short_ones)); }),
      base::cat("calibration: ", short_ones, " samples instead of 55: data 'train' holds 60 records, of which ",
                60 - short_ones, " are longer than max_length ", data_.max_length));
  data_.too_long = "error";
  expect_contains(message_of<base::DataError>([&] { samples(); }), "raise max_length");
}

TEST_F(CalibrationTest, WindowsAreCutFromTheExamplesEndToEnd) {
  std::string text;
  for (const data::Example& example : examples()) text += bytes_.decode(example.ids, false) + "\n\n";
  config_.num_samples = 40;
  config_.sequence_length = 100;
  const auto windows = samples();
  ASSERT_EQ(windows.size(), 40u);
  std::set<size_t> places;
  for (const Ids& window : windows) {
    ASSERT_EQ(window.size(), 100u);
    const size_t place = text.find(bytes_.decode(window, false));
    ASSERT_NE(place, std::string::npos);
    places.insert(place);
  }
  EXPECT_GT(places.size(), 30u);
  EXPECT_LT(*places.begin(), text.size() / 4);
  EXPECT_GT(*places.rbegin(), text.size() * 3 / 4);
  EXPECT_EQ(samples(), windows) << "seeded";
  data_.seed = -1;  // the same records, as their stream is 5 again
  EXPECT_NE(samples(6), windows);
}

TEST_F(CalibrationTest, OneWindowMayTakeAllOfTheTextAndNoMore) {
  size_t length = 0;
  for (const data::Example& example : examples()) length += example.ids.size() + 2;
  config_.num_samples = 3;
  config_.sequence_length = static_cast<int64_t>(length);
  for (const Ids& window : samples()) EXPECT_EQ(window.size(), length);
  ++config_.sequence_length;
  expect_contains(message_of<base::DataError>([&] { samples(); }),
                  base::cat("data 'train' holds ", length, " tokens, fewer than one window of ", length + 1));
}

TEST_F(CalibrationTest, BatchesHoldEverySampleOnce) {
  config_.num_samples = 20;
  const auto all = samples();
  std::vector<Ids> batched;
  const auto batches = calibration_batches(all, 300, at::kCPU);
  EXPECT_GT(batches.size(), 2u);
  for (const nn::TokenBatch& batch : batches) {
    EXPECT_LE(batch.ids.numel(), 300);
    const auto* ids = batch.ids.const_data_ptr<int64_t>();
    for (const nn::Segment& segment : batch.segments) batched.emplace_back(ids + segment.begin, ids + segment.end);
  }
  EXPECT_THAT(batched, testing::UnorderedElementsAreArray(all));
}

}  // namespace
}  // namespace rqat::pipeline
