#include <gtest/gtest.h>

#include "rqat/base/error.h"
#include "rqat/base/node.h"
#include "rqat/base/rng.h"

namespace rqat::base {
namespace {

/// Parses, or throws ConfigError; whatever parses survives dump() and a second parse.
bool parses(const std::string& text) {
  try {
    const Node node = Node::parse(text, "fuzz");
    const std::string once = node.dump();
    EXPECT_EQ(Node::parse(once, "again").dump(), once) << text;
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

TEST(NodeFuzz, RandomBytes) {
  Rng rng(11, "bytes");
  for (int i = 0; i < 3000; ++i) {
    std::string text(static_cast<size_t>(rng.integer(0, 60)), '\0');
    for (char& c : text) c = static_cast<char>(rng.integer(0, 255));
    parses(text);
  }
}

TEST(NodeFuzz, RandomYamlPieces) {
  static const std::vector<std::string> kPieces = {
      "a",  "b",   "1",     " ",    "  ",   "\n",     "\n  ", "\n- ",  ": ",    ":",           "- ",
      "[",  "]",   "{",     "}",    ", ",   "'",      "\"",   "&x ",   "*x",    "!",           "!!str ",
      "!<", ">",   "|",     "|-\n", "#",    " # c\n", "? ",   "---\n", "...\n", "%YAML 1.2\n", "%TAG ! x\n",
      "\\", "\\x", "\\u12", "~",    "null", "\t",     "\r\n", "<<",    "\u00e9"};
  Rng rng(12, "pieces");
  int parsed = 0;
  constexpr int kDocuments = 20000;
  for (int i = 0; i < kDocuments; ++i) {
    std::string text;
    for (int64_t n = rng.integer(1, 20); n > 0; --n) text += rng.pick(kPieces);
    parsed += parses(text);
  }
  EXPECT_GT(parsed, kDocuments / 50);  // the pieces do reach the tree builder
  EXPECT_LT(parsed, kDocuments);
}

TEST(NodeFuzz, MutatedRecipe) {
  const std::string recipe =
      "include: [configs/quant/w2_g64.yaml]\nmodel: {path: x}\nstages:\n  - id: kd\n    train: &t\n      max_steps: "
      "10\n"
      "      text: |\n        hello\n        world\n    optimizer: {adamw: {learning_rate: 1e-4}}\n  - id: rl\n    "
      "train: *t\n";
  ASSERT_TRUE(parses(recipe));
  Rng rng(13, "mutations");
  for (int i = 0; i < 3000; ++i) {
    std::string text = recipe;
    for (int64_t n = rng.integer(1, 4); n > 0; --n) {
      const auto at = static_cast<size_t>(rng.integer(0, static_cast<int64_t>(text.size()) - 1));
      switch (rng.integer(0, 2)) {
        case 0:
          text[at] = static_cast<char>(rng.integer(1, 127));
          break;
        case 1:
          text.erase(at, static_cast<size_t>(rng.integer(1, 8)));
          break;
        default:
          text.insert(at, text.substr(static_cast<size_t>(rng.integer(0, static_cast<int64_t>(at))), 12));
          break;
      }
    }
    parses(text);
  }
}

}  // namespace
}  // namespace rqat::base
