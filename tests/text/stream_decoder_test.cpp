#include "rqat/text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "rqat/base/error.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

std::unique_ptr<Tokenizer> toy() {
  nlohmann::json value = toy_json({{"\xF0", "\x9F"}});
  value["added_tokens"] = {added_token("<s>", 300)};
  return load_tokenizer(write_text(fresh_folder("stream") / "tokenizer.json", value.dump()));
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  const auto tokenizer = toy();
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.push(0x9F), "");
  EXPECT_EQ(decoder.push(0x98), "");
  EXPECT_EQ(decoder.push(0x80), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push('b'),
            "\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(decoder.push(0xC3), "");
  EXPECT_EQ(decoder.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_THROW(decoder.push(299), base::DataError);
}

TEST(StreamDecoder, MaySkipSpecialTokens) {
  const auto tokenizer = toy();
  StreamDecoder all(*tokenizer), plain(*tokenizer, true);
  EXPECT_EQ(all.push(300), "<s>");
  EXPECT_EQ(plain.push(300), "");
}

TEST(StreamDecoder, PiecesJoinToTheWhole) {
  const auto tokenizer = toy();
  std::mt19937 random(5);
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<int64_t> ids;
    for (int i = 0; i < 40; ++i)
      ids.push_back(random() % 3 == 0 ? static_cast<int64_t>(0xE0 + random() % 32)
                                      : static_cast<int64_t>(random() % 256));
    StreamDecoder decoder(*tokenizer);
    std::string joined;
    for (const int64_t id : ids) joined += decoder.push(id);
    joined += decoder.flush();
    ASSERT_EQ(joined, tokenizer->decode(ids));
  }
}

}  // namespace
}  // namespace rqat::text
