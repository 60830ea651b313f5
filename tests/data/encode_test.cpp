#include <gtest/gtest.h>

#include "base/support.h"
#include "data/fake_text.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {
namespace {

using base::expect_contains;
using base::message_of;

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

std::string learned_of(const Example& example) {
  std::string learned;
  for (size_t i = 0; i < example.ids.size(); ++i)
    learned += example.loss_mask[i] ? static_cast<char>(example.ids[i]) : '.';
  return learned;
}

Example encode(const Record& record, const std::string& loss_on = "responses", const text::ChatTemplate& chat = kChat) {
  DataConfig config;
  config.loss_on = loss_on;
  return encode_example(record, config, kTokenizer, chat);
}

TEST(Encode, LossOnAllAssistantTurns) {
  Record record = record_of("Q2", "A2");
  record.history = {{"user", "Q1"}, {"assistant", "A1"}};
  EXPECT_EQ(text_of(encode(record).ids), "u:Q1|\na:A1|\nu:Q2|\na:A2|");
  EXPECT_EQ(learned_of(encode(record)), "........A1|.........A2|");
  EXPECT_EQ(learned_of(encode(record, "last_response")), "....................A2|");
  EXPECT_EQ(learned_of(encode(record, "all")), "u:Q1|\na:A1|\nu:Q2|\na:A2|");
  EXPECT_EQ(encode(record).ids, encode(record, "last_response").ids);
}

/// Drops what stands before "=" in earlier assistant turns, as Qwen3 and R1 drop their thinking; trims the others.
class ForgetfulTemplate : public LetterTemplate {
 public:
  std::string render(const std::vector<text::Message>& messages, bool add_generation_prompt) const override {
    std::vector<text::Message> kept = messages;
    for (size_t i = 0; i < kept.size(); ++i) {
      const size_t end = kept[i].content.find('=');
      if (kept[i].role == "assistant" && end != std::string::npos) kept[i].content = kept[i].content.substr(end + 1);
      kept[i].content = base::trim(kept[i].content);
    }
    return LetterTemplate::render(kept, add_generation_prompt);
  }
};

TEST(Encode, TemplatesThatRewriteEarlierTurns) {
  const ForgetfulTemplate chat;
  Record record = record_of("Q2", "A2");
  record.history = {{"user", "Q1"}, {"assistant", " A1 "}};
  EXPECT_EQ(learned_of(encode(record, "responses", chat)), "........A1|.........A2|")
      << "white space around a turn is trimmed";
  record.history[1].content = "so=A1";
  expect_contains(message_of<base::DataError>([&] { encode(record, "responses", chat); }),
                  "the chat template (letters) writes earlier turns otherwise than they were said");
  EXPECT_EQ(learned_of(encode(record, "last_response", chat)), "....................A2|");
}

/// Opens the thinking of every answer.
class ThinkingTemplate : public LetterTemplate {
 public:
  std::string render(const std::vector<text::Message>& messages, bool add_generation_prompt) const override {
    return LetterTemplate::render(messages, add_generation_prompt) + (add_generation_prompt ? "<think>\n" : "");
  }
};

TEST(Encode, ThinkingThatThePromptOpensAlready) {
  const ThinkingTemplate chat;
  EXPECT_EQ(text_of(encode(record_of("Q", "<think>\nT</think>A"), "responses", chat).ids),
            "u:Q|\na:<think>\nT</think>A|");
  EXPECT_EQ(text_of(encode(record_of("Q", "<think>T</think>A"), "responses", chat).ids),
            "u:Q|\na:<think>\nT</think>A|");
  EXPECT_EQ(text_of(encode(record_of("Q", "A"), "responses", chat).ids), "u:Q|\na:<think>\nA|");
  EXPECT_EQ(text_of(encode(record_of("<think>", "<think>A")).ids), "u:<think>|\na:<think>A|");
}

TEST(Encode, CutResponsesHaveNoEnd) {
  Record record = record_of("Q", "half an ans");
  record.cut = true;
  EXPECT_EQ(text_of(encode(record).ids), "u:Q|\na:half an ans");
}

TEST(Encode, PlainTextIsLearnedWhole) {
  Record record;
  record.text = "abc";
  EXPECT_EQ(learned_of(encode(record)), "^abc|");
  record.text = "^abc|";
  EXPECT_EQ(learned_of(encode(record)), "^abc|") << "no second BOS or EOS";
  expect_contains(message_of<base::DataError>([&] { encode_prompt(record, DataConfig(), kTokenizer, kChat); }),
                  "a record of plain text has no prompt to answer");
}

TEST(Encode, ProblemsWithoutSolution) {
  Record record = record_of("Q", "");
  record.where = "set.jsonl:7";
  expect_contains(message_of<base::DataError>([&] { encode_examples({record}, DataConfig(), kTokenizer, kChat); }),
                  "record 1 (set.jsonl:7): a record has no response to learn");
  EXPECT_EQ(text_of(encode_prompt(record, DataConfig(), kTokenizer, kChat)), "u:Q|\na:");
}

TEST(Encode, TruncatedExamplesKeepTheirBeginning) {
  DataConfig config;
  config.max_length = 9;
  config.too_long = "truncate";
  const Example example = encode_example(record_of("Q", "a long answer"), config, kTokenizer, kChat);
  EXPECT_EQ(text_of(example.ids), "u:Q|\na:a ");
  EXPECT_EQ(example.num_targets(), 2);
  expect_contains(
      message_of<base::DataError>([&] { encode_example(record_of("longer", "a"), config, kTokenizer, kChat); }),
      "nothing that is learned is left of an example of which the first max_length 9 tokens are kept");
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

TEST(Encode, LongPromptsAreAFaultOrDropped) {
  const std::vector<Record> records{record_of("Q", ""), record_of("a longer question", "")};
  DataConfig config;
  config.max_length = 8;  // just the first, of 7
  const auto fit = [&] { return with_fitting_prompts(records, config, kTokenizer, kChat); };
  for (const char* way : {"error", "truncate"}) {
    config.too_long = way;
    expect_contains(message_of<base::DataError>(fit),
                    "record 2: its prompt has 23 tokens, max_length is 8 (\"a longer");
  }
  config.too_long = "drop";
  testing::internal::CaptureStderr();
  const std::vector<Record> fitting = fit();
  expect_contains(testing::internal::GetCapturedStderr(),
                  "1 of 2 prompts are longer than max_length 8 and were dropped");
  ASSERT_EQ(fitting.size(), 1u);
  EXPECT_EQ(fitting[0].prompt, "Q");
  config.max_length = 6;
  expect_contains(message_of<base::DataError>(fit), "all 2 prompts are longer than max_length 6");
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
