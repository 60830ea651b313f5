#include "rqat/text/tokenize_lines.h"

#include <gtest/gtest.h>

#include <sstream>

#include "rqat/base/error.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

std::string run(const std::string& input, bool decode, bool special = true) {
  nlohmann::json value = toy_json({{"a", "b"}});
  value["added_tokens"] = {added_token("<s>", 300)};
  value["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {300}}, {"tokens", {"<s>"}}}}}}};
  const auto tokenizer = load_tokenizer(write_text(fresh_folder("lines") / "tokenizer.json", value.dump()));
  std::istringstream in(input);
  std::ostringstream out;
  tokenize_lines(*tokenizer, in, out, {.decode = decode, .special = special});
  return out.str();
}

TEST(TokenizeLines, BothWays) {
  EXPECT_EQ(run("\"ab!\"\n\n\"\\u00e9\"\n", false), "[300,256,33]\n[300,195,169]\n");
  EXPECT_EQ(run("[256,33]\n[195,169]\n[]", true), "\"ab!\"\n\"\\u00e9\"\n\"\"\n");
}

TEST(TokenizeLines, WithoutSpecialTokens) {
  EXPECT_EQ(run("\"ab<s>\"\n", false, false), "[256,300]\n");
  EXPECT_EQ(run("[300,256]\n", true, false), "\"ab\"\n");
  EXPECT_EQ(run("[300,256]\n", true), "\"<s>ab\"\n");
}

TEST(TokenizeLines, BadLinesAreNamed) {
  for (const auto& [input, decode] : {std::pair{"\"a\"\n[1]\n", false},
                                      {"[1]\n[1, \"x\"]\n", true},
                                      {"[1]\n\"a\"\n", true},
                                      {"\"a\"\nabc\n", false}}) {
    try {
      run(input, decode);
      FAIL() << input;
    } catch (const base::DataError& error) {
      EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(run("[100000]", true), base::DataError);
  try {
    run(std::string("\xff\x01 \"x\"", 6), false);
    FAIL();
  } catch (const base::DataError& error) {  // a terminal would obey control characters
    EXPECT_STREQ(error.what(), "line 1: expected a JSON string, got '\uFFFD\\u0001 \"x\"'");
  }
}

}  // namespace
}  // namespace rqat::text
