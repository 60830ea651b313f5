#include "rqat/text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "rqat/base/error.h"
#include "text/toy_tokenizer.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int64_t>;

std::unique_ptr<Tokenizer> load(const json& value, const std::string& name = "toy") {
  return load_tokenizer(write_text(fresh_folder(name) / "tokenizer.json", value.dump()));
}

json toy() { return toy_json({{"a", "b"}, {" ", "ab"}, {"1", "2"}}); }  // ids 256, 257, 258

void expect_refused(const json& value, const std::string& part) {
  try {
    load(value, "refused");
    FAIL() << "expected an error with '" << part << "'";
  } catch (const base::IoError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
  }
}

TEST(Tokenizer, EncodesAndDecodesByHand) {
  const auto tokenizer = load(toy());
  EXPECT_EQ(tokenizer->encode("ab ab12"), (Ids{256, 257, 258}));
  EXPECT_EQ(tokenizer->encode("\xC3\xA9"), (Ids{0xC3, 0xA9}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->decode({256, 257, 258}), "ab ab12");
  EXPECT_EQ(tokenizer->decode({0xC3}), "\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->encode("\xC3"), tokenizer->encode("\xEF\xBF\xBD"));
  EXPECT_EQ(tokenizer->vocab_size(), 259);
  EXPECT_EQ(tokenizer->token_id("\xC4\xA0"
                                "ab"),
            257);
  EXPECT_EQ(tokenizer->token_id("nothing"), -1);
  EXPECT_EQ(tokenizer->token_text(257),
            "\xC4\xA0"
            "ab");
  EXPECT_EQ(tokenizer->token_bytes(257), " ab");
  EXPECT_EQ(tokenizer->bos_id(), -1);
}

TEST(Tokenizer, MergesMayBeWrittenAsTextOrPairs) {
  json value = toy();
  value["model"]["merges"] = {"#version: 0.2", "a b", "\xC4\xA0 ab", "1 2"};
  EXPECT_EQ(load(value)->encode("ab ab12"), (Ids{256, 257, 258}));
}

TEST(Tokenizer, DigitsBeforeByteLevel) {
  json value = toy();
  value["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, value["pre_tokenizer"]}}};
  EXPECT_EQ(load(value)->encode("12"), (Ids{'1', '2'}));
}

TEST(Tokenizer, SplitByTextIsLiteral) {
  json value = toy();
  const json step = {{"type", "Split"}, {"pattern", {{"String", "."}}}, {"behavior", "Removed"}, {"invert", false}};
  value["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {step, {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  EXPECT_EQ(load(value)->encode("ab.x"), (Ids{256, 'x'}));
}

TEST(Tokenizer, AddedTokensAndTheirRoles) {
  json value = toy();
  value["added_tokens"] = {added_token("<s>", 300), added_token("<t>", 301, false)};
  const auto folder = fresh_folder("roles");
  write_text(folder / "tokenizer.json", value.dump());
  write_text(folder / "tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "<t>"})");
  const auto tokenizer = load_tokenizer(folder);
  EXPECT_EQ(tokenizer->encode("<s>ab<t>"), (Ids{300, 256, 301}));
  EXPECT_EQ(tokenizer->encode("<s><t>", false), (Ids{'<', 's', '>', 301}));
  EXPECT_EQ(tokenizer->decode({300, 256, 301}), "<s>ab<t>");
  EXPECT_EQ(tokenizer->decode({300, 256, 301}, true), "ab<t>");
  EXPECT_EQ(tokenizer->bos_id(), 300);
  EXPECT_EQ(tokenizer->eos_id(), 301);
  EXPECT_TRUE(tokenizer->is_special(300));
  EXPECT_FALSE(tokenizer->is_special(301));
  EXPECT_EQ(tokenizer->vocab_size(), 302);
  EXPECT_THROW(tokenizer->decode({280}), base::DataError);  // a hole
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "<none>"})");
  EXPECT_THROW(load_tokenizer(folder), base::IoError);
}

TEST(Tokenizer, NfcAppliesToTextAndNormalizedTokensOnly) {
  json value = toy();
  value["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  json composed = added_token("e\xCC\x81!", 300, false);
  composed["normalized"] = true;
  value["added_tokens"] = {composed, added_token("e\xCC\x81?", 301, false)};
  const auto tokenizer = load(value);
  EXPECT_EQ(tokenizer->encode("e\xCC\x81"), (Ids{0xC3, 0xA9}));
  EXPECT_EQ(tokenizer->encode("\xC3\xA9!e\xCC\x81!"), (Ids{300, 300}));
  EXPECT_EQ(tokenizer->encode("e\xCC\x81?\xC3\xA9?"), (Ids{301, 0xC3, 0xA9, '?'}));
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreNamed) {
  const auto tokenizer = load(toy());
  for (const int64_t id : {int64_t{-1}, int64_t{259}, INT64_MAX}) {
    EXPECT_THROW(tokenizer->decode({id}), base::DataError);
    EXPECT_THROW(tokenizer->token_text(id), base::DataError);
    EXPECT_THROW(tokenizer->token_bytes(id), base::DataError);
    EXPECT_THROW(tokenizer->is_special(id), base::DataError);
  }
}

TEST(Tokenizer, RefusesUnsupportedPartsByName) {
  const auto with = [](const char* pointer, const json& part) {
    json value = toy();
    value[json::json_pointer(pointer)] = part;
    return value;
  };
  expect_refused(with("/model/type", "Spelling"), "'Spelling'");
  expect_refused(with("/model/dropout", 0.1), "dropout");
  expect_refused(with("/normalizer", {{"type", "Uppercase"}}), "normalizer: 'Uppercase'");
  expect_refused(with("/pre_tokenizer", {{"type", "Words"}}), "pre_tokenizer: 'Words'");
  expect_refused(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Odd"}}),
                 "'Odd'");
  expect_refused(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", ""}}}, {"behavior", "Removed"}}),
                 "empty Split pattern");
  expect_refused(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Removed"}}),
                 "does not compile");
  expect_refused(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "__"}}), "expected one character");
  expect_refused(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}),
                 "prepend_scheme 'last'");
  expect_refused(with("/pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}), "'length' is 0");
  expect_refused(with("/decoder", {{"type", "Reverse"}}), "decoder: 'Reverse'");
  expect_refused(with("/decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}), "'start' is -1");
  expect_refused(with("/decoder", {{"type", "BPEDecoder"}, {"suffix", ""}}), "BPEDecoder suffix");
  expect_refused(with("/decoder", {{"type", "CTC"}, {"pad_token", ""}, {"word_delimiter_token", "|"}}), "CTC");
  expect_refused(with("/post_processor", {{"type", "Stamp"}}), "post_processor: 'Stamp'");
  expect_refused(with("/post_processor", {{"type", "TemplateProcessing"}, {"single", json::array()}}), "0 texts");
  expect_refused(with("/post_processor", {{"type", "BertProcessing"}, {"sep", {"[SEP]", 5000}}, {"cls", {"[CLS]", 1}}}),
                 "no token with id 5000");
  expect_refused(with("/post_processor", {{"type", "BertProcessing"}, {"sep", "[SEP]"}, {"cls", {"[CLS]", 1}}}),
                 "expected [token, id]");
  expect_refused(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "A!"}}), "not base64");
  expect_refused(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "////"}}), "damaged");
}

TEST(Tokenizer, RefusesCorruptFiles) {
  json value = toy();
  value["model"].erase("vocab");
  expect_refused(value, "'vocab' is missing");
  value = toy();
  value["model"]["vocab"] = json::object();
  value["model"]["merges"] = json::array();
  expect_refused(value, "vocabulary is empty");
  value = toy();
  value.erase("model");
  expect_refused(value, "'model' is missing");
  value = toy();
  value["model"]["merges"].push_back({"a", "zz"});
  expect_refused(value, "'zz'");
  value = toy();
  value["model"]["merges"].push_back({"a", "c"});
  expect_refused(value, "needs the token 'ac'");
  value = toy();
  value["model"]["merges"].push_back("a b c");
  expect_refused(value, "is not a merge");
  value = toy();
  value["model"]["vocab"]["zz"] = 5;
  expect_refused(value, "share the id 5");
  for (const json& id : {json(-1), json(1), json(int64_t{1} << 40), json(UINT64_MAX)}) {
    value = toy();
    value["model"]["vocab"]["zz"] = id;
    expect_refused(value, "'zz'");
  }
  value = toy();
  value["model"]["vocab"]["zz"] = 1.5;
  expect_refused(value, "expected an integer");
  value = toy();
  value["model"]["unk_token"] = "<unk>";
  expect_refused(value, "unk_token '<unk>'");
}

TEST(Tokenizer, RefusesContradictoryAddedTokens) {
  json value = toy();
  value["added_tokens"] = {added_token("ab", 300)};
  expect_refused(value, "its id in the vocabulary is 256");
  value["added_tokens"] = {added_token("<s>", 256)};
  expect_refused(value, "share the id 256");
  value["added_tokens"] = {added_token("<s>", 300), added_token("<s>", 300)};
  expect_refused(value, "repeats '<s>'");
  value["added_tokens"] = {added_token("", 300)};
  expect_refused(value, "is empty");
  value["added_tokens"] = {added_token("<s>", int64_t{1} << 33)};
  expect_refused(value, "'<s>'");
  value["added_tokens"] = "none";
  expect_refused(value, "expected an array");
}

TEST(Tokenizer, MissingAndMalformedFiles) {
  const auto folder = fresh_folder("missing");
  EXPECT_THROW(load_tokenizer(folder / "nowhere"), base::IoError);
  EXPECT_THROW(load_tokenizer(folder), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "tokenizer.json", "{\"model\": {")), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "tokenizer.json", "[]")), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "tokenizer.json", "")), base::IoError);
}

TEST(Tokenizer, DamagedSentencePieceModels) {
  // Pieces as in sentencepiece_model.proto: <unk> (type 2), <s> and </s> (type 3), one whose text is damaged.
  const std::string unknown("\x0A\x0E\x0A\x05<unk>\x15\0\0\0\0\x18\x02", 16),
      begin("\x0A\x0C\x0A\x03<s>\x15\0\0\0\0\x18\x03", 14), end("\x0A\x0D\x0A\x04</s]\x15\0\0\0\x39\x18\x03", 15),
      damaged("\x0A\x0A\x0A\x08\0\0\0\x15\x0A\x15\0\0", 12);
  for (const std::string& content : {std::string(), std::string("hello"), unknown + begin + end + damaged}) {
    const auto path = write_text(fresh_folder("damaged") / "tokenizer.model", content);
    try {
      load_tokenizer(path);
      FAIL() << "a model of " << content.size() << " bytes";
    } catch (const base::IoError& error) {
      EXPECT_NE(std::string(error.what()).find("not a sentencepiece model"), std::string::npos) << error.what();
    }
  }
}

TEST(Tokenizer, VocabAndMergesFolder) {
  const json model = toy()["model"];
  const auto folder = fresh_folder("slow");
  write_text(folder / "vocab.json", model["vocab"].dump());
  write_text(folder / "merges.txt", "#version: 0.2\na b\n\xC4\xA0 ab\r\n1 2\n");
  EXPECT_EQ(load_tokenizer(folder)->encode("ab ab12"), (Ids{256, 257, 258})) << "GPT-2's without a config";
  const auto config = folder / "tokenizer_config.json";
  write_text(
      config,
      R"({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<e>", "added_tokens_decoder": {"300": {"content": "<e>", "special": true}}})");
  EXPECT_EQ(load_tokenizer(folder)->encode("ab ab12<e>"), (Ids{256, 257, '1', '2', 300}));
  EXPECT_EQ(load_tokenizer(folder)->eos_id(), 300);
  write_text(config, R"({"tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(load_tokenizer(folder)->encode("12"), (Ids{258}));
  write_text(config, R"({"tokenizer_class": "LlamaTokenizer"})");
  EXPECT_THROW(load_tokenizer(folder), base::IoError);
  write_text(config, R"({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"x": {"content": "<e>"}}})");
  EXPECT_THROW(load_tokenizer(folder), base::IoError);
  write_text(config, R"({"tokenizer_class": "Qwen2Tokenizer"})");
  write_text(folder / "merges.txt", "a b c\n");
  EXPECT_THROW(load_tokenizer(folder), base::IoError);
}

TEST(Tokenizer, RandomBytesNeverCrashAndValidTextRoundTrips) {
  json value = toy();
  value["added_tokens"] = {added_token("<|im_end|>", 300)};
  const auto tokenizer = load(value);
  std::mt19937 random(11);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string bytes;
    for (size_t i = random() % 80; i > 0; --i) {
      bytes += random() % 4 == 0 ? "ab 12\n<|im_end|>"[random() % 16] : static_cast<char>(random() % 256);
    }
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(bytes)), replace_invalid_utf8(bytes));
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(bytes, false)), replace_invalid_utf8(bytes));
  }
}

TEST(Tokenizer, EncodesFromSeveralThreads) {
  const auto tokenizer = load(toy());
  const Ids expected = tokenizer->encode("ab ab12 cab");
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) wrong += tokenizer->encode("ab ab12 cab") != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace rqat::text
