// Models, normalizers and decoders of tokenizer.json beyond byte-level BPE, by hand.
#include <gtest/gtest.h>

#include "rqat/base/error.h"
#include "rqat/text/stream_decoder.h"
#include "rqat/text/tokenizer.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int64_t>;

std::unique_ptr<Tokenizer> load(const json& value) {
  return load_tokenizer(write_text(fresh_folder("pipeline") / "tokenizer.json", value.dump()));
}

json replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

// Llama's shape: U+2581 for spaces, unknown characters as bytes.
json sentencepiece_bpe() {
  json vocabulary = {{"<unk>", 0}, {"▁", 1}, {"a", 2}, {"b", 3}, {"▁a", 4}, {"▁ab", 5}};
  const char* digits = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">"] = 100 + byte;
  return {{"added_tokens", {added_token("<s>", 400)}},
          {"normalizer",
           {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, replace(" ", "▁")}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {replace("▁", " "),
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", {"▁ a", "▁a b"}}}}};
}

TEST(Pipeline, SentencePieceBpe) {
  const auto tokenizer = load(sentencepiece_bpe());
  EXPECT_EQ(tokenizer->encode("ab a"), (Ids{5, 4}));
  EXPECT_EQ(tokenizer->encode("a\xC3\xA9"), (Ids{4, 100 + 0xC3, 100 + 0xA9}));
  EXPECT_EQ(tokenizer->encode("<s>a"), (Ids{400, 4})) << "the normalizer sees each stretch by itself";
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->decode({5, 4}), "ab a");
  EXPECT_EQ(tokenizer->decode({4, 100 + 0xC3, 100 + 0xA9}), "a\xC3\xA9");
  EXPECT_EQ(tokenizer->decode({4, 100 + 0xC3, 4}), "a\xEF\xBF\xBD a");
  EXPECT_FALSE(tokenizer->decodes_by_token());
}

TEST(Pipeline, UnknownCharactersAreFusedWhereAsked) {
  json value = sentencepiece_bpe();
  value["model"]["byte_fallback"] = false;
  EXPECT_EQ(load(value)->encode("a!?a"), (Ids{4, 0, 2}));
  value["model"]["fuse_unk"] = false;
  EXPECT_EQ(load(value)->encode("a!?a"), (Ids{4, 0, 0, 2}));
  value["model"]["unk_token"] = nullptr;
  EXPECT_EQ(load(value)->encode("a!?a"), (Ids{4, 2}));
}

TEST(Pipeline, StreamEqualsDecodingAtOnce) {
  const auto tokenizer = load(sentencepiece_bpe());
  const Ids ids = {5, 4, 100 + 0xE4, 100 + 0xBD, 100 + 0xA0, 1, 1, 4, 100 + 0xC3, 400, 5, 100 + 0xE4};
  for (const bool skip : {false, true}) {
    StreamDecoder stream(*tokenizer, skip);
    std::string text, first = stream.push(ids[0]);
    EXPECT_EQ(first, "ab") << "no space before the first word";
    text = first;
    for (size_t i = 1; i < ids.size(); ++i) text += stream.push(ids[i]);
    EXPECT_EQ(text + stream.flush(), tokenizer->decode(ids, skip));
    EXPECT_EQ(stream.push(4), "a") << "flush starts anew";
  }
  EXPECT_THROW(StreamDecoder(*tokenizer).push(399), base::DataError);
}

TEST(Pipeline, BpeWithWordEnds) {
  const json value = {{"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
                      {"decoder", {{"type", "BPEDecoder"}, {"suffix", "</w>"}}},
                      {"model",
                       {{"type", "BPE"},
                        {"end_of_word_suffix", "</w>"},
                        {"vocab", {{"a", 0}, {"b", 1}, {"b</w>", 2}, {"ab</w>", 3}, {"a</w>", 4}}},
                        {"merges", {"a b</w>"}}}}};
  const auto tokenizer = load(value);
  EXPECT_EQ(tokenizer->encode("ab  ba"), (Ids{3, 1, 4}));
  EXPECT_EQ(tokenizer->decode({3, 1, 4}), "ab ba");
}

TEST(Pipeline, Unigram) {
  // "abc": ab + c costs 1 + 3, a + bc 2 + 1.5.
  const json vocabulary = json::parse(
      R"([["<unk>", 0], ["a", -2], ["b", -5], ["c", -3], ["ab", -1], ["bc", -1.5], ["<0xC3>", -9], ["<0xA9>", -9]])");
  json value = {{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocabulary}}}};
  EXPECT_EQ(load(value)->encode("abc"), (Ids{1, 5}));
  EXPECT_EQ(load(value)->encode("xya"), (Ids{0, 1})) << "unknown characters in a row are one token";
  EXPECT_EQ(load(value)->encode("\xC3\xA9"), (Ids{0}));
  value["model"]["byte_fallback"] = true;
  EXPECT_EQ(load(value)->encode("\xC3\xA9"), (Ids{6, 7}));
  EXPECT_EQ(load(value)->encode("x"), (Ids{0})) << "not all its bytes have tokens";
  value["model"]["unk_id"] = nullptr;
  EXPECT_THROW(load(value)->encode("x"), base::DataError);
  value["model"]["unk_id"] = 8;
  EXPECT_THROW(load(value), base::IoError);
  value["model"]["vocab"].push_back("a");
  EXPECT_THROW(load(value), base::IoError);
}

json word_piece() {
  return {{"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", {{"type", "BertProcessing"}, {"sep", {"[SEP]", 2}}, {"cls", {"[CLS]", 1}}}},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 6},
            {"vocab",
             {{"[UNK]", 0},
              {"[CLS]", 1},
              {"[SEP]", 2},
              {"un", 3},
              {"##able", 4},
              {"##a", 5},
              {"!", 6},
              {"unable", 7},
              {"e", 8}}}}}};
}

TEST(Pipeline, WordPiece) {
  const auto tokenizer = load(word_piece());
  EXPECT_EQ(tokenizer->encode("Unable una!"), (Ids{7, 3, 5, 6})) << "longest match first";
  EXPECT_EQ(tokenizer->encode("unx"), (Ids{0}));
  EXPECT_EQ(tokenizer->encode("unaaaaa"), (Ids{0})) << "longer than max_input_chars_per_word";
  EXPECT_EQ(tokenizer->encode("\xC3\x89"), (Ids{8})) << "accents go with the case";
  EXPECT_EQ(tokenizer->with_special({7}), (Ids{1, 7, 2}));
  EXPECT_EQ(tokenizer->decode({7, 3, 5, 6}), "unable una!");
  json value = word_piece();
  value["model"]["unk_token"] = "[NO]";
  EXPECT_THROW(load(value), base::IoError);
}

TEST(Pipeline, WordLevel) {
  const json value = {
      {"pre_tokenizer", {{"type", "Whitespace"}}},
      {"model", {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", {{"?", 0}, {"one", 1}, {"two", 2}}}}}};
  EXPECT_EQ(load(value)->encode("one twoo two"), (Ids{1, 0, 2}));
  EXPECT_EQ(load(value)->decode({1, 2}), "one two") << "without a decoder tokens are words";
}

TEST(Pipeline, FewRulesDoNotFillTheMemory) {
  const json model = {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", {{"?", 0}, {"a", 1}}}};
  const json doubling = {{"type", "Sequence"}, {"normalizers", std::vector<json>(60, replace("a", "aa"))}};
  EXPECT_THROW(load({{"model", model}, {"normalizer", doubling}})->encode("a"), base::DataError);
  const json long_text = {{"type", "Replace"}, {"pattern", {{"Regex", "b"}}}, {"content", std::string(2000, 'a')}};
  const auto tokenizer = load({{"model", model}, {"normalizer", long_text}});
  EXPECT_EQ(tokenizer->encode("b").size(), 1u) << "a short text may grow";
  EXPECT_THROW(tokenizer->encode(std::string(1'000'000, 'b')), base::DataError);
  const json decoder = replace("a", std::string(2000, 'b').c_str());
  const auto growing = load(
      {{"model", {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", {{"?", 0}, {std::string(10'000, 'a'), 1}}}}},
       {"decoder", decoder}});
  EXPECT_THROW(growing->decode({1}), base::DataError);
}

TEST(Pipeline, LargestIdTakesLittleMemory) {
  const auto tokenizer =
      load({{"model", {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", {{"?", 0}, {"a", 4194303}}}}}});
  EXPECT_EQ(tokenizer->vocab_size(), 4194304);
  EXPECT_EQ(tokenizer->encode("a"), (Ids{4194303}));
  EXPECT_EQ(tokenizer->token_text(4194303), "a");
  EXPECT_THROW(tokenizer->token_text(4194302), base::DataError) << "a gap in the ids";
}

std::string base64(const std::string& bytes) {
  static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes + std::string(2, '\0')) {
    bits = (bits << 8) | static_cast<uint8_t>(c);
    for (count += 8; count >= 6; count -= 6) out += kDigits[(bits >> (count - 6)) & 63];
  }
  return out.substr(0, (bytes.size() * 8 + 5) / 6);
}

// A normalizer that replaces "x" by the text that begins at `offset` of `texts`.
json character_map(uint32_t offset, const std::string& texts) {
  std::vector<uint32_t> trie(512, 0);
  trie[0] = 0x100u << 10;                         // children of the root stand at 0x100 ^ byte
  trie[0x178] = 'x' | (1u << 8) | (0x87u << 10);  // ends a key; its value stands at 0x178 ^ 0x87
  trie[0x1FF] = offset;
  const auto bytes = static_cast<uint32_t>(trie.size() * sizeof(uint32_t));
  std::string blob(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  blob.append(reinterpret_cast<const char*>(trie.data()), bytes) += texts;
  return {{"type", "Precompiled"}, {"precompiled_charsmap", base64(blob)}};
}

TEST(Pipeline, CharacterMapsKeepTextValid) {
  const auto load_map = [](uint32_t offset, const std::string& texts) {
    return load(
        {{"model",
          {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", {{"?", 0}, {"a", 1}, {"\u00e9", 2}, {"x", 3}}}}},
         {"pre_tokenizer", {{"type", "Whitespace"}}},
         {"normalizer", character_map(offset, texts)}});
  };
  const std::string texts("a\0\xC3\xA9\0", 5);
  EXPECT_EQ(load_map(0, texts)->encode("x"), Ids{1});
  EXPECT_EQ(load_map(2, texts)->encode("x"), Ids{2});
  EXPECT_EQ(load_map(3, texts)->encode("x"), Ids{3}) << "inside of a character";
  EXPECT_EQ(load_map(99, texts)->encode("x"), Ids{3}) << "behind the texts";
  EXPECT_THROW(load_map(0, "\xFF"), base::IoError) << "what follows relies on valid UTF-8";
}

TEST(Pipeline, SeveralStepsAfterByteLevel) {
  // Falcon's order: the digits are split off in the byte alphabet.
  json value = toy_json({{"1", "2"}});
  value["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {value["pre_tokenizer"], {{"type", "Digits"}, {"individual_digits", true}}}}};
  EXPECT_EQ(load(value)->encode("12\xC2\xB2"), (Ids{'1', '2', 0xC2, 0xB2}));
}

TEST(Pipeline, GzipAndDamagedFiles) {
  const auto folder = fresh_folder("gzip");
  // gzip of "{}", made by gzip -n.
  const unsigned char bytes[] = {0x1f, 0x8b, 8, 0,    0,    0,    0,    0, 0, 3, 0xab,
                                 0xae, 5,    0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0};
  const std::string packed(reinterpret_cast<const char*>(bytes), sizeof(bytes));
  const auto message = [&](const std::string& content) -> std::string {
    try {
      load_tokenizer(write_text(folder / "tokenizer.json.gz", content));
      return "accepted";
    } catch (const base::IoError& error) {
      return error.what();
    }
  };
  EXPECT_NE(message(packed).find("'model' is missing"), std::string::npos) << message(packed);
  EXPECT_NE(message(packed.substr(0, 15)).find("damaged gzip"), std::string::npos) << message(packed.substr(0, 15));
  EXPECT_NE(message("{}").find("damaged gzip"), std::string::npos) << message("{}");
  EXPECT_THROW(load_tokenizer(write_text(folder / "x.model", "no model")), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "y.model", "")), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "z.model", "IQ== 0\nIg== 2\n")), base::IoError);
  EXPECT_THROW(load_tokenizer(write_text(folder / "z.model", "IQ== 0\nIg== 1\n")), base::IoError) << "not Llama 3's";
}

}  // namespace
}  // namespace rqat::text
