#include "rqat/base/node.h"

#include <gtest/gtest.h>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

/// Kinds, texts, quotes and keys; not the places.
bool same_tree(const Node& a, const Node& b) {
  if (a.kind() != b.kind() || a.value() != b.value() || a.quoted() != b.quoted()) return false;
  if (a.items().size() != b.items().size() || a.entries().size() != b.entries().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    if (!same_tree(a.items()[i], b.items()[i])) return false;
  }
  for (size_t i = 0; i < a.entries().size(); ++i) {
    if (a.entries()[i].key != b.entries()[i].key || !same_tree(a.entries()[i].value, b.entries()[i].value))
      return false;
  }
  return true;
}

std::string fault_of(const std::string& yaml) {
  return message_of<ConfigError>([&] { Node::parse(yaml, "r.yaml"); });
}

TEST(Node, ParsesScalarsListsAndMaps) {
  const Node node = Node::parse("a: 1\nb: [x, \"2\", ~]\nc:\n  d: 'null'\n  e:\n", "r.yaml");
  ASSERT_TRUE(node.is_map());
  EXPECT_EQ(node.find("a")->value(), "1");
  EXPECT_FALSE(node.find("a")->quoted());
  const auto& items = node.find("b")->items();
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[1].value(), "2");
  EXPECT_TRUE(items[1].quoted());
  EXPECT_TRUE(items[2].is_null());
  EXPECT_EQ(node.find("c")->find("d")->value(), "null");
  EXPECT_TRUE(node.find("c")->find("d")->quoted());
  EXPECT_TRUE(node.find("c")->find("e")->is_null());
  EXPECT_EQ(node.find("f"), nullptr);
}

TEST(Node, KnowsWhereEachPartStands) {
  const Node node = Node::parse("# comment\na: 1\nb:\n  - x\n  - {c: 2}\n", "r.yaml");
  EXPECT_EQ(node.find("a")->where().text(), "r.yaml:2");
  EXPECT_EQ(node.find("a")->where().column, 4);
  EXPECT_EQ(node.find("b")->items()[1].find("c")->where().line, 5);
  EXPECT_EQ(node.entries()[1].where.line, 3);
  EXPECT_EQ((Location{"override a=1", 0, 0}).text(), "override a=1");
}

TEST(Node, EmptyDocumentsAreNull) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "~"})
    EXPECT_TRUE(Node::parse(text, "r").is_null()) << text;
}

TEST(Node, TextMayEndBehindAnySign) {
  for (const char* text :
       {"a:", "a:\n", "a: |", "a: |\n\n", "a: >-\n", "- ", "-", "- \n", "? a\n", "a: &x\n", "a: !!str\n", "a: 1 #"}) {
    EXPECT_FALSE(Node::parse(text, "r").is_null()) << text;
  }
  EXPECT_EQ(Node::parse("a: |+\n  x\n\n\n", "r").find("a")->value(), "x\n\n\n");
}

TEST(Node, LiteralBlocksAndStringTagsAreText) {
  const Node node = Node::parse("a: |\n  12\n  x\nb: !!str 12\nc: >-\n  one\n  two\n", "r");
  EXPECT_EQ(node.find("a")->value(), "12\nx\n");
  EXPECT_TRUE(node.find("a")->quoted());
  EXPECT_TRUE(node.find("b")->quoted());
  EXPECT_EQ(node.find("c")->value(), "one two");
}

TEST(Node, SyntaxFaultsNameFileAndLine) {
  expect_contains(fault_of("a: 1\nb: [1, 2\nc: 3\n"), "r.yaml:");
  expect_contains(fault_of("a: 1\n  b: 2\n"), "r.yaml:2: not valid YAML");
  for (const char* open : {"a: 'x", "a: 'x\n", "a: \"x\nb: 2\n", "a: 'x\n# c\n \n", "a: [1, 'x]\n"}) {
    expect_contains(fault_of(open), "not valid YAML");
  }
  expect_contains(fault_of("a: [\nb: 1\n"), "is a bracket, brace or quote left open above");
  expect_contains(fault_of("a:\n\t- b\n"), "r.yaml:2: not valid YAML: illegal block entry; the line begins with a tab");
  expect_contains(fault_of("a: *nowhere\n"), "r.yaml:1: not valid YAML");
  expect_contains(fault_of("a: 1\n---\nb: 2\n"), "more than one YAML document");
}

TEST(Node, DuplicateKeysAreFaults) {
  EXPECT_EQ(fault_of("a: 1\nb: 2\na: 3\n"), "r.yaml:3: the key 'a' stands twice in this map (first in line 1)");
  expect_contains(fault_of("x:\n  - {a: 1, \"a\": 2}\n"), "r.yaml:2: the key 'a' stands twice");
}

TEST(Node, KeysMustBePlainText) {
  expect_contains(fault_of("? [1, 2]\n: 3\n"), "a key must be plain text, found a list");
  expect_contains(fault_of("{a: 1}: 3\n"), "a key must be plain text, found a map");
  expect_contains(fault_of("~: 3\n"), "a key must be plain text, found nothing");
  expect_contains(fault_of("a: &x {b: 1}\n*x : 2\n"), "a key must be plain text, found a map");
  expect_contains(fault_of("a: &x {b: 1}\nc:\n  <<: *x\n"), "merge keys '<<' are not supported");
}

TEST(Node, AliasesRepeatWhatTheyName) {
  const Node node = Node::parse("a: &x {b: [1, 2]}\nc: *x\n&k d: 1\ne: *k\n", "r");
  EXPECT_EQ(node.find("c")->find("b")->items()[1].value(), "2");
  EXPECT_EQ(node.find("e")->value(), "d");
}

TEST(Node, HostileDocumentsAreRefused) {
  expect_contains(fault_of("a: &x [1, *x]\n"), "an alias stands inside of what it names");
  expect_contains(fault_of(std::string(150, '[') + std::string(150, ']')), "nested deeper than 100 levels");
  message_of<ConfigError>([] { Node::parse(std::string(100000, '['), "r"); });
  message_of<ConfigError>([] { Node::parse(std::string(100000, '{'), "r"); });
  std::string dashes;
  for (int i = 0; i < 20000; ++i) dashes += "- ";
  message_of<ConfigError>([&] { Node::parse(dashes, "r"); });
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string alias = cat("*a", i - 1, ", ");
    laughs += cat("a", i, ": &a", i, " [", alias, alias, alias, alias, alias, alias, alias, alias, "x]\n");
  }
  expect_contains(fault_of(laughs), "too large once its aliases are expanded");
  std::string tower = "a0: &a0 1\n";  // what walks a tree recurses, so aliases must not stack it either
  for (int i = 1; i < 20; ++i)
    tower += cat("a", i, ": &a", i, " ", std::string(90, '['), "*a", i - 1, std::string(90, ']'), "\n");
  expect_contains(fault_of(tower), "r.yaml:3: nested deeper than 100 levels");
  const std::string half = std::string(45, '[') + "x" + std::string(45, ']');
  EXPECT_NO_THROW(Node::parse(cat("a: &a ", half, "\nb: ", std::string(45, '['), "*a", std::string(45, ']')), "r"));
}

TEST(Node, OnlyUtf8TextIsTaken) {
  EXPECT_EQ(Node::parse("a: \u00fc\u4e2d\U0001f600\n", "r").find("a")->value(), "\u00fc\u4e2d\U0001f600");
  EXPECT_EQ(Node::parse("\xef\xbb\xbf"
                        "a: 1\n",
                        "r")
                .find("a")
                ->value(),
            "1");
  EXPECT_EQ(Node::parse("a: 1\r\nb: 2\r\n", "r").find("b")->value(), "2");
  EXPECT_EQ(Node::parse(R"(a: "\N\_\xe9\u0085")", "r").find("a")->value(), "\u0085\u00a0\u00e9\u0085");
  for (const char* bad : {"\xff", "\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xe4\xb8"}) {
    expect_contains(fault_of(cat("x: 1\na: ", bad)), "r.yaml:2: not valid UTF-8 text");
  }
  expect_contains(fault_of(std::string("a: 1\n\0b", 7)), "r.yaml:2: control character 0");
  expect_contains(fault_of("a: \x04 1"), "control character 4");
}

TEST(Node, ReadNamesTheFile) {
  const TemporaryFolder folder;
  write_file(folder / "r.yaml", "a: 1\nb: [\n");
  expect_contains(message_of<ConfigError>([&] { Node::read(folder / "r.yaml"); }), (folder / "r.yaml").string() + ":");
  expect_contains(message_of<ConfigError>([&] { Node::read(folder / "none.yaml"); }),
                  "none.yaml: cannot open the file");
  expect_contains(message_of<ConfigError>([&] { Node::read(folder.path()); }), "Is a directory");
}

TEST(Node, DescribesItself) {
  EXPECT_EQ(Node().describe(), "nothing");
  EXPECT_EQ(Node::map().describe(), "a map");
  EXPECT_EQ(Node::list().describe(), "a list");
  EXPECT_EQ(Node::scalar("abc").describe(), "the text 'abc'");
  EXPECT_LT(Node::scalar(std::string(1000, 'x')).describe().size(), 100u);
}

TEST(Node, SetAndErase) {
  Node node;
  node.set("a", Node::scalar("1"));
  node.set("b", Node::scalar("2"));
  node.set("a", Node::scalar("3"));
  ASSERT_TRUE(node.is_map());
  EXPECT_EQ(node.dump(), "a: 3\nb: 2\n");
  EXPECT_TRUE(node.erase("a"));
  EXPECT_FALSE(node.erase("a"));
  EXPECT_EQ(node.find("a"), nullptr);
}

struct MergeCase {
  const char* name;
  const char* base;
  const char* over;
  const char* expected;
};

class NodeMerge : public testing::TestWithParam<MergeCase> {};

TEST_P(NodeMerge, GivesTheExpectedTree) {
  Node node = Node::parse(GetParam().base, "base");
  node.merge(Node::parse(GetParam().over, "over"));
  EXPECT_TRUE(same_tree(node, Node::parse(GetParam().expected, "expected"))) << node.dump();
}

INSTANTIATE_TEST_SUITE_P(
    All, NodeMerge,
    testing::Values(MergeCase{"maps_by_key", "{a: 1, b: {c: 2, d: 3}}", "{b: {d: 4, e: 5}, f: 6}",
                              "{a: 1, b: {c: 2, d: 4, e: 5}, f: 6}"},
                    MergeCase{"lists_by_id", "[{id: x, a: 1}, {id: y, a: 2}]", "[{id: y, b: 3}, {id: z, a: 4}]",
                              "[{id: x, a: 1}, {id: y, a: 2, b: 3}, {id: z, a: 4}]"},
                    MergeCase{"list_without_ids_replaces", "[{id: x}, {a: 2}]", "[{id: x, b: 1}]", "[{id: x, b: 1}]"},
                    MergeCase{"plain_list_replaces", "[1, 2, 3]", "[4]", "[4]"},
                    MergeCase{"empty_list_replaces", "[{id: x}]", "[]", "[]"},
                    MergeCase{"scalar_replaces_map", "{a: {b: 1}}", "{a: 2}", "{a: 2}"},
                    MergeCase{"map_replaces_scalar", "{a: 2}", "{a: {b: 1}}", "{a: {b: 1}}"},
                    MergeCase{"null_replaces", "{a: 2}", "{a: ~}", "{a: ~}"},
                    MergeCase{"anything_over_null", "~", "{a: 1}", "{a: 1}"}),
    [](const auto& info) { return info.param.name; });

TEST(Node, MergeKeepsThePlaceOfWhatWon) {
  Node node = Node::parse("a: 1\nb: 2\n", "base");
  node.merge(Node::parse("\n\nb: 3\n", "over"));
  EXPECT_EQ(node.find("a")->where().text(), "base:1");
  EXPECT_EQ(node.find("b")->where().text(), "over:3");
}

TEST(Node, DumpIsReadable) {
  const char* text =
      "model: {family: llama, path: models/base}\n"
      "stages:\n"
      "  - id: kd\n"
      "    objective: {kl_forward: {temperature: 1.0, top_k: 64}}\n"
      "    betas: [0.9, 0.95]\n"
      "    nested:\n"
      "      deep: {a: {b: 1}}\n"
      "      other: 2\n"
      "  - eval\n"
      "empty: {}\n"
      "none: null\n"
      "text: \"12\"\n";
  EXPECT_EQ(Node::parse(text, "r").dump(), text);
}

TEST(Node, DumpParsesBackToTheSameTree) {
  const std::vector<std::string> texts = {"",
                                          "null",
                                          "~",
                                          "true",
                                          "1",
                                          "-",
                                          "- a",
                                          "a: b",
                                          "a:b",
                                          "a #b",
                                          "#b",
                                          "a#b",
                                          "[",
                                          "]",
                                          "a, b",
                                          "{a}",
                                          "*x",
                                          "&x",
                                          "!t",
                                          "|",
                                          ">",
                                          "'",
                                          "\"",
                                          "%x",
                                          "@x",
                                          "`x",
                                          "?",
                                          "? a",
                                          ":",
                                          "a:",
                                          " a",
                                          "a ",
                                          "a\nb",
                                          "a\n",
                                          "\t",
                                          "\\",
                                          "\x01",
                                          "\x7f",
                                          "---",
                                          "...",
                                          "<<",
                                          "=",
                                          "\u00fc",
                                          "\u2028",
                                          "\ufeff",
                                          "C:\\x",
                                          "x\ry",
                                          "model.layers.*.mlp",
                                          "{{ messages }}",
                                          std::string("a\0b", 3),
                                          std::string(3000, 'w')};
  for (const std::string& text : texts) {
    const Node alone = Node::scalar(text);
    EXPECT_EQ(Node::parse(alone.dump(), "r").value(), text) << alone.dump();
    for (const bool quoted : {false, true}) {
      Node map = Node::map();
      if (text.size() < 1000) map.set(text, Node::scalar("1"));
      map.set("value", Node::scalar(text, {}, quoted));
      map.set("list", Node::list({Node::scalar(text, {}, quoted), Node::list({Node::scalar(text, {}, quoted), Node()}),
                                  Node::map()}));
      const Node back = Node::parse(map.dump(), "r");
      // What cannot stand without quotes comes back with them: after one more turn nothing changes.
      EXPECT_TRUE(same_tree(back, Node::parse(back.dump(), "r"))) << map.dump();
      EXPECT_EQ(back.find("value")->value(), text) << map.dump();
      EXPECT_EQ(back.find("list")->items()[1].items()[0].value(), text) << map.dump();
      EXPECT_TRUE(!quoted || same_tree(back, map)) << map.dump();
    }
  }
}

TEST(Node, DumpLeavesPlainScalarsPlain) {
  for (const char* text : {"a: -1e-4", "a: .5", "a: x y", "a: models/x.gguf", "a: 3:4", "a: a#b", "a: w*x", "a: '~'",
                           "a: {b: [c, {d: e}]}"}) {
    const Node node = Node::parse(text, "r");
    EXPECT_TRUE(same_tree(node, Node::parse(node.dump(), "r"))) << node.dump();
  }
}

}  // namespace
}  // namespace rqat::base
