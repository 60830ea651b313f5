#include <gtest/gtest.h>

#include "base/support.h"
#include "rqat/base/error.h"
#include "rqat/data/dataset.h"

namespace rqat::data {
namespace {

using base::expect_contains;
using base::message_of;

/// One token a byte, and `|` as the special token that ends a turn.
class ByteTokenizer : public text::Tokenizer {
 public:
  std::vector<int64_t> encode(std::string_view text, bool) const override {
    std::vector<int64_t> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::string token_bytes(int64_t id) const override { return {static_cast<char>(id)}; }
  bool is_special(int64_t id) const override { return id == '|'; }
  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override { return ids; }
  bool decodes_by_token() const override { return true; }
  int64_t vocab_size() const override { return 256; }
  int64_t token_id(std::string_view token) const override { return token == "|" ? '|' : -1; }
  std::string token_text(int64_t id) const override { return token_bytes(id); }
  int64_t bos_id() const override { return -1; }
  int64_t eos_id() const override { return '|'; }
};

class LetterTemplate : public text::ChatTemplate {
 public:
  std::string name() const override { return "letters"; }
  std::string render(const std::vector<text::Message>& messages, bool add_generation_prompt) const override {
    std::string text;
    for (const text::Message& message : messages) text += message.role.substr(0, 1) + ":" + message.content + "|\n";
    return text + (add_generation_prompt ? "a:" : "");
  }
  text::RenderedChat render_variables(const nlohmann::ordered_json&) const override { return {}; }
  bool has_generation_blocks() const override { return false; }
  std::string stop_text() const override { return "|"; }
};

const ByteTokenizer kTokenizer;
const LetterTemplate kChat;

Record record_of(const std::string& prompt, const std::string& response) {
  Record record;
  record.prompt = prompt;
  record.response = response;
  return record;
}

std::string text_of(const std::vector<int64_t>& ids) { return kTokenizer.decode(ids, false); }

TEST(Encode, PromptWithSystemTurnAndInstruction) {
  DataConfig config;
  Record record = record_of("Q", "A");
  EXPECT_EQ(text_of(encode_prompt(record, config, kTokenizer, kChat)), "u:Q|\na:");
  config.system_prompt = "be kind";
  config.instruction = "Think.";
  EXPECT_EQ(text_of(encode_prompt(record, config, kTokenizer, kChat)), "s:be kind|\nu:Q\nThink.|\na:");
  record.system = "own";
  EXPECT_EQ(text_of(encode_prompt(record, config, kTokenizer, kChat)), "s:own|\nu:Q\nThink.|\na:")
      << "the record's own system turn wins";
}

TEST(Encode, LossOnResponseAndEndOfTurnOnly) {
  const Example example = encode_example(record_of("Q", "yes"), DataConfig(), kTokenizer, kChat);
  EXPECT_EQ(text_of(example.ids), "u:Q|\na:yes|");
  std::string learned;
  ASSERT_EQ(example.ids.size(), example.loss_mask.size());
  for (size_t i = 0; i < example.ids.size(); ++i) {
    if (example.loss_mask[i]) learned += static_cast<char>(example.ids[i]);
  }
  EXPECT_EQ(learned, "yes|");
  EXPECT_EQ(example.num_targets(), 4);
}

TEST(Encode, ExampleIsItsPromptPlusWhatGenerationWouldAppend) {
  const Record record = record_of("Q", "A");
  const auto prompt = encode_prompt(record, DataConfig(), kTokenizer, kChat);
  const auto whole = encode_example(record, DataConfig(), kTokenizer, kChat).ids;
  ASSERT_GT(whole.size(), prompt.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), whole.begin()));
}

TEST(Encode, LongExamplesAreAFaultOrDropped) {
  const std::vector<Record> records{record_of("Q", "short"), record_of("Q", "a much longer answer")};
  DataConfig config;
  config.max_length = 13;  // just the first: 7 of prompt, 6 of response
  const std::string text = message_of<base::DataError>([&] { encode_examples(records, config, kTokenizer, kChat); });
  expect_contains(text, "record 2: an example has 28 tokens, max_length is 13");
  expect_contains(text, "raise max_length, or set too_long: drop");
  config.too_long = "drop";
  testing::internal::CaptureStderr();
  const auto examples = encode_examples(records, config, kTokenizer, kChat);
  expect_contains(testing::internal::GetCapturedStderr(),
                  "1 of 2 examples are longer than max_length 13 and were dropped");
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(text_of(examples[0].ids), "u:Q|\na:short|");
  config.max_length = 12;
  expect_contains(message_of<base::DataError>([&] { encode_examples(records, config, kTokenizer, kChat); }),
                  "all 2 records are longer than max_length 12: the data set is empty");
}

TEST(Encode, AsManyAsAskedForRemainAfterDropping) {
  const std::vector<Record> records{record_of("Q", "1"), record_of("Q", "a much longer answer"), record_of("Q", "2"),
                                    record_of("Q", "another much longer answer"), record_of("Q", "3")};
  DataConfig config;
  config.max_length = 13;
  config.too_long = "drop";
  const auto texts = [&](int64_t most) {
    std::vector<std::string> found;
    for (const Example& example : encode_examples(records, config, kTokenizer, kChat, most))
      found.push_back(text_of(example.ids));
    return found;
  };
  testing::internal::CaptureStderr();
  EXPECT_EQ(texts(2), (std::vector<std::string>{"u:Q|\na:1|", "u:Q|\na:2|"}));
  expect_contains(testing::internal::GetCapturedStderr(), "1 of 3 examples are longer than max_length 13");
  EXPECT_EQ(texts(1), std::vector<std::string>{"u:Q|\na:1|"});
  EXPECT_EQ(texts(9).size(), 3u);
  config.too_long = "error";
  EXPECT_EQ(texts(1).size(), 1u) << "what is not looked at is no fault";
}

}  // namespace
}  // namespace rqat::data
