#include "rqat/base/fields.h"

#include <gtest/gtest.h>

#include <cmath>

#include "rqat/base/error.h"
#include "rqat/base/registry.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

struct Part {
  virtual ~Part() = default;
};

struct AdamConfig : Config {
  double learning_rate = 1e-3;
  int64_t warmup = 0;
  void fields(FieldVisitor& v) override {
    v.field("learning_rate", learning_rate, "step size", positive());
    v.field("warmup", warmup, "steps", non_negative());
  }
};

struct NeedyConfig : Config {
  std::string path;
  void fields(FieldVisitor& v) override {
    v.field("path", path, "where");
    v.required("path");
  }
};

const Registry<Part>& parts() {
  using EntryType = Registry<Part>::EntryType;
  static const Registry<Part> registry(
      "parts",
      {
          make_entry<EntryType, AdamConfig>("adam", "h", "",
                                            [](const AdamConfig&) { return std::make_unique<Part>(); }),
          make_entry<EntryType, NeedyConfig>("needy", "h", "",
                                             [](const NeedyConfig&) { return std::make_unique<Part>(); }),
          make_entry<EntryType, NoConfig>("plain", "h", "", [](const NoConfig&) { return std::make_unique<Part>(); }),
      });
  return registry;
}

struct GroupConfig : Config {
  int64_t low = 1, high = 2;
  void fields(FieldVisitor& v) override {
    v.field("low", low, "lower end");
    v.field("high", high, "upper end");
  }
  std::vector<std::string> check() const override {
    if (low > high) return {cat("low (", low, ") exceeds high (", high, ")")};
    return {};
  }
};

struct AllConfig : Config {
  bool flag = false;
  int64_t count = 128;
  double ratio = 0.5;
  std::string name = "base";
  std::vector<std::string> words = {"a", "b"};
  std::vector<double> betas = {0.9, 0.95};
  std::optional<int64_t> limit;
  std::optional<double> temperature = 1.5;
  std::string mode = "fast";
  GroupConfig range;
  Component part{"adam"};
  std::vector<Component> more;
  Node rules;
  void fields(FieldVisitor& v) override {
    v.field("flag", flag, "a flag");
    v.field("count", count, "how many", {1, 100000});
    v.field("ratio", ratio, "share", {0, 1, true});
    v.field("name", name, "a name");
    v.field("words", words, "some words");
    v.field("betas", betas, "some numbers");
    v.field("limit", limit, "at most", non_negative());
    v.field("temperature", temperature, "heat", positive());
    v.choice("mode", mode, {"fast", "exact"}, "how");
    v.group("range", range, "an interval");
    v.component("part", part, parts(), "a part");
    v.components("more", more, parts(), "more parts");
    v.tree("rules", rules, "anything");
  }
};

struct ReadResult {
  AllConfig config;
  std::vector<std::string> faults;
};

std::unique_ptr<ReadResult> read(const std::string& yaml, const std::string& path = "stages.kd") {
  auto result = std::make_unique<ReadResult>();
  Faults faults;
  read_config(result->config, Node::parse(yaml, "r.yaml"), path, faults);
  result->faults = faults.lines();
  return result;
}

std::string only_fault(const std::string& yaml) {
  const auto result = read(yaml);
  EXPECT_EQ(result->faults.size(), 1u) << yaml << ": " << join(result->faults, "\n");
  return result->faults.empty() ? "" : result->faults[0];
}

TEST(Fields, ReadsEachType) {
  const auto result = read(R"(
flag: true
count: 1e4
ratio: 1
name: 123
words: [x, "y z"]
betas: [1, 2.5e-1]
limit: 7
temperature: ~
mode: exact
range: {low: -5}
part: {adam: {learning_rate: 1e-4}}
more: [plain, {adam: {warmup: 3}}, needy: {path: p}]
rules: {"*.mlp": [1, {a: b}]}
)");
  ASSERT_TRUE(result->faults.empty()) << join(result->faults, "\n");
  const AllConfig& config = result->config;
  EXPECT_TRUE(config.flag);
  EXPECT_EQ(config.count, 10000);
  EXPECT_EQ(config.ratio, 1);
  EXPECT_EQ(config.name, "123");
  EXPECT_EQ(config.words, (std::vector<std::string>{"x", "y z"}));
  EXPECT_EQ(config.betas, (std::vector<double>{1, 0.25}));
  EXPECT_EQ(config.limit, 7);
  EXPECT_FALSE(config.temperature.has_value());
  EXPECT_EQ(config.mode, "exact");
  EXPECT_EQ(config.range.low, -5);
  EXPECT_EQ(config.range.high, 2);
  EXPECT_EQ(config.part.name, "adam");
  EXPECT_EQ(config.part.where.text(), "r.yaml:12");
  EXPECT_EQ(dynamic_cast<AdamConfig&>(*config.part.config).learning_rate, 1e-4);
  ASSERT_EQ(config.more.size(), 3u);
  EXPECT_EQ(config.more[0].name, "plain");
  EXPECT_EQ(dynamic_cast<AdamConfig&>(*config.more[1].config).warmup, 3);
  EXPECT_EQ(dynamic_cast<NeedyConfig&>(*config.more[2].config).path, "p");
  EXPECT_EQ(config.rules.find("*.mlp")->items()[1].find("a")->value(), "b");
  EXPECT_EQ(config.where.line, 2);
}

TEST(Fields, AbsentKeysKeepTheirDefaults) {
  for (const char* yaml : {"", "{}", "{range: ~, part: adam}"}) {
    const auto result = read(yaml);
    ASSERT_TRUE(result->faults.empty()) << join(result->faults, "\n");
    EXPECT_EQ(result->config.count, 128);
    EXPECT_EQ(result->config.temperature, 1.5);
    EXPECT_EQ(result->config.words.size(), 2u);
    ASSERT_NE(result->config.part.config, nullptr);
    EXPECT_EQ(dynamic_cast<AdamConfig&>(*result->config.part.config).learning_rate, 1e-3);
  }
}

TEST(Fields, OneValueStandsForAList) {
  const auto result = read("{words: x, betas: 0.5, more: plain}");
  ASSERT_TRUE(result->faults.empty()) << join(result->faults, "\n");
  EXPECT_EQ(result->config.words, (std::vector<std::string>{"x"}));
  EXPECT_EQ(result->config.betas, (std::vector<double>{0.5}));
  ASSERT_EQ(result->config.more.size(), 1u);
  EXPECT_EQ(read("more: {adam: {warmup: 1}}")->config.more.size(), 1u);
  EXPECT_TRUE(read("{words: []}")->config.words.empty());
}

TEST(Fields, NullTakesAComponentAway) {
  const auto result = read("{part: ~, more: ~}");
  EXPECT_TRUE(result->faults.empty());
  EXPECT_FALSE(result->config.part);
  EXPECT_TRUE(result->config.more.empty());
}

struct FaultCase {
  const char* name;
  const char* yaml;
  const char* fault;
};

class FieldFaults : public testing::TestWithParam<FaultCase> {};

TEST_P(FieldFaults, SaysWhatWhereAndWhatIsAllowed) { EXPECT_EQ(only_fault(GetParam().yaml), GetParam().fault); }

INSTANTIATE_TEST_SUITE_P(
    All, FieldFaults,
    testing::Values(
        FaultCase{"bool", "flag: 1", "r.yaml:1: stages.kd.flag: expected true or false, found the number 1"},
        FaultCase{"bool_word", "\nflag: yes", "r.yaml:2: stages.kd.flag: expected true or false, found the text 'yes'"},
        FaultCase{"bool_quoted", "flag: 'true'",
                  "r.yaml:1: stages.kd.flag: expected true or false, found the text 'true' in quotes"},
        FaultCase{"integer_fraction", "count: 1.5",
                  "r.yaml:1: stages.kd.count: expected an integer, found the number 1.5"},
        FaultCase{"integer_text", "count: many",
                  "r.yaml:1: stages.kd.count: expected an integer, found the text 'many'"},
        FaultCase{"integer_quoted", "count: '5'",
                  "r.yaml:1: stages.kd.count: expected an integer, found the text '5' in quotes"},
        FaultCase{"integer_null", "count:", "r.yaml:1: stages.kd.count: expected an integer, found nothing"},
        FaultCase{"integer_low", "count: 0", "r.yaml:1: stages.kd.count: 0 is out of range; allowed: 1..100000"},
        FaultCase{"integer_high", "count: 1e6", "r.yaml:1: stages.kd.count: 1e6 is out of range; allowed: 1..100000"},
        FaultCase{"number_text", "ratio: half", "r.yaml:1: stages.kd.ratio: expected a number, found the text 'half'"},
        FaultCase{"number_nan", "ratio: .nan", "r.yaml:1: stages.kd.ratio: expected a number, found the text '.nan'"},
        FaultCase{"number_list", "ratio: [1]", "r.yaml:1: stages.kd.ratio: expected a number, found a list"},
        FaultCase{"number_open_end", "ratio: 0", "r.yaml:1: stages.kd.ratio: 0 is out of range; allowed: > 0 and <= 1"},
        FaultCase{"number_infinite", "ratio: .inf",
                  "r.yaml:1: stages.kd.ratio: .inf is out of range; allowed: > 0 and <= 1"},
        FaultCase{"text", "name: {a: 1}", "r.yaml:1: stages.kd.name: expected text, found a map"},
        FaultCase{"text_null", "name: ~", "r.yaml:1: stages.kd.name: expected text, found nothing"},
        FaultCase{"words", "words: {a: b}", "r.yaml:1: stages.kd.words: expected a list of text, found a map"},
        FaultCase{"words_item", "words: [a,\n  [b]]",
                  "r.yaml:2: stages.kd.words: expected a list of text, found a list"},
        FaultCase{"numbers", "betas: ~", "r.yaml:1: stages.kd.betas: expected a list of numbers, found nothing"},
        FaultCase{"numbers_item", "betas: [1, x]",
                  "r.yaml:1: stages.kd.betas: expected a list of numbers, found the text 'x'"},
        FaultCase{"optional_integer", "limit: x", "r.yaml:1: stages.kd.limit: expected an integer, found the text 'x'"},
        FaultCase{"optional_integer_range", "limit: -1",
                  "r.yaml:1: stages.kd.limit: -1 is out of range; allowed: >= 0"},
        FaultCase{"optional_number", "temperature: []",
                  "r.yaml:1: stages.kd.temperature: expected a number, found a list"},
        FaultCase{"optional_number_range", "temperature: 0",
                  "r.yaml:1: stages.kd.temperature: 0 is out of range; allowed: > 0"},
        FaultCase{"choice", "mode: fats",
                  "r.yaml:1: stages.kd.mode: unknown value 'fats'; did you mean 'fast'? (one of fast, exact)"},
        FaultCase{"choice_type", "mode: [fast]", "r.yaml:1: stages.kd.mode: expected one of fast, exact, found a list"},
        FaultCase{"group_type", "range: 3",
                  "r.yaml:1: stages.kd.range: expected a map of settings, found the number 3"},
        FaultCase{"group_key", "range:\n  hihg: 3",
                  "r.yaml:2: stages.kd.range.hihg: unknown key; did you mean 'high'? (allowed: low, high)"},
        FaultCase{"group_check", "range:\n  low: 3", "r.yaml:2: stages.kd.range: low (3) exceeds high (2)"},
        FaultCase{"component_name", "part: adan",
                  "r.yaml:1: stages.kd.part: unknown part 'adan'; did you mean 'adam'? (one of adam, needy, plain)"},
        FaultCase{"component_key_name", "part:\n  adan: {}",
                  "r.yaml:2: stages.kd.part: unknown part 'adan'; did you mean 'adam'? (one of adam, needy, plain)"},
        FaultCase{"component_two", "part: {adam: {}, plain: {}}",
                  "r.yaml:1: stages.kd.part: expected a name or one {name: {settings}}, found a map of 2 keys (names: "
                  "adam, needy, plain)"},
        FaultCase{"component_list", "part: [adam]",
                  "r.yaml:1: stages.kd.part: expected a name or one {name: {settings}}, found a list (names: adam, "
                  "needy, plain)"},
        FaultCase{"component_settings", "part: {adam: 3}",
                  "r.yaml:1: stages.kd.part.adam: expected a map of settings, found the number 3"},
        FaultCase{"component_range", "part:\n  adam:\n    learning_rate: 0",
                  "r.yaml:3: stages.kd.part.adam.learning_rate: 0 is out of range; allowed: > 0"},
        FaultCase{"component_required", "part: needy",
                  "r.yaml:1: stages.kd.part.needy.path: missing; this key is required"},
        FaultCase{"component_no_fields", "part: {plain: {a: 1}}",
                  "r.yaml:1: stages.kd.part.plain.a: unknown key; nothing can be set here"},
        FaultCase{"components_item", "more: [plain, adma]",
                  "r.yaml:1: stages.kd.more[1]: unknown part 'adma'; did you mean 'adam'? (one of adam, needy, plain)"},
        FaultCase{"not_a_map", "[1]", "r.yaml:1: stages.kd: expected a map of settings, found a list"}),
    [](const auto& info) { return info.param.name; });

TEST(Fields, UnknownKeysListWhatIsAllowed) {
  const std::string fault = only_fault("cuont: 3");
  expect_contains(fault, "r.yaml:1: stages.kd.cuont: unknown key; did you mean 'count'?");
  EXPECT_EQ(fault.find("allowed"), std::string::npos) << "a long list beside a suggestion: " << fault;
  expect_contains(only_fault("zzzzzzzz: 3"), "unknown key (allowed: flag");
}

TEST(Fields, AllFaultsAreShownTogether) {
  const auto result = read("flag: 1\ncount: 0\nbogus: 2\nrange: {low: x}\n");
  ASSERT_EQ(result->faults.size(), 4u);
  Faults faults;
  for (const auto& line : result->faults) faults.add({}, line);
  const std::string message = message_of<ConfigError>([&] { faults.raise("4 faults in r.yaml:"); });
  EXPECT_EQ(split(message, '\n').size(), 5u);
  expect_contains(message, "4 faults in r.yaml:\nr.yaml:1: stages.kd.flag:");
  Faults().raise("nothing");
}

TEST(Fields, FaultyValuesLeaveTheDefault) {
  const auto result = read("{count: 0, words: {a: 1}, betas: [x], limit: -1}");
  EXPECT_EQ(result->config.count, 128);
  EXPECT_EQ(result->config.words.size(), 2u);
  EXPECT_EQ(result->config.betas.size(), 2u);
  EXPECT_FALSE(result->config.limit.has_value());
}

TEST(Fields, CheckRunsOnlyAfterACleanRead) {
  const auto result = read("range: {low: 9, bogus: 1}");
  ASSERT_EQ(result->faults.size(), 1u);
  expect_contains(result->faults[0], "bogus");
}

TEST(Fields, PathMayBeEmpty) {
  const auto result = read("count: 0", "");
  ASSERT_EQ(result->faults.size(), 1u);
  EXPECT_EQ(result->faults[0], "r.yaml:1: count: 0 is out of range; allowed: 1..100000");
}

TEST(Fields, OverridesNameThemselves) {
  AllConfig config;
  Node node = Node::map();
  node.set("count", Node::scalar("x", {"override stages.kd.count=x", 0, 0}));
  Faults faults;
  read_config(config, node, "stages.kd", faults);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults.lines()[0], "override stages.kd.count=x: stages.kd.count: expected an integer, found the text 'x'");
}

struct OuterConfig : Config {
  Component part;
  NeedyConfig needy;
  void fields(FieldVisitor& v) override {
    v.component("part", part, parts(), "a part");
    v.required("part");
    v.group("needy", needy, "more");
  }
};

TEST(Fields, RequiredKeysAreAskedForAtEachDepth) {
  for (const char* yaml : {"{}", "{part: ~}"}) {
    OuterConfig config;
    Faults faults;
    read_config(config, Node::parse(yaml, "r.yaml"), "", faults);
    EXPECT_EQ(faults.lines(), (std::vector<std::string>{"r.yaml:1: part: missing; this key is required",
                                                        "r.yaml:1: needy.path: missing; this key is required"}));
  }
}

TEST(Fields, WrittenConfigReadsBackTheSame) {
  const auto first = read(R"(
flag: true
count: 7
ratio: 0.1
name: "12"
words: ["", "null", x]
betas: [1e-8]
limit: 3
temperature: null
part: {adam: {learning_rate: 3e-5}}
more: [plain, {needy: {path: "a: b"}}]
rules: {x: [1, "1"]}
)");
  ASSERT_TRUE(first->faults.empty()) << join(first->faults, "\n");
  const std::string text = write_config(first->config).dump();
  const auto second = read(text);
  ASSERT_TRUE(second->faults.empty()) << text << join(second->faults, "\n");
  EXPECT_EQ(write_config(second->config).dump(), text);
  EXPECT_EQ(second->config.name, "12");
  EXPECT_EQ(second->config.words, (std::vector<std::string>{"", "null", "x"}));
  EXPECT_EQ(second->config.ratio, 0.1);
  EXPECT_EQ(second->config.limit, 3);
  EXPECT_FALSE(second->config.temperature.has_value());
  EXPECT_EQ(dynamic_cast<AdamConfig&>(*second->config.part.config).learning_rate, 3e-5);
  EXPECT_EQ(dynamic_cast<NeedyConfig&>(*second->config.more[1].config).path, "a: b");
  EXPECT_TRUE(second->config.rules.find("x")->items()[1].quoted());
  expect_contains(text, "name: \"12\"\n");
  expect_contains(text, "part: {adam: {learning_rate: 3e-05, warmup: 0}}\n");
}

TEST(Fields, WriteFillsInTheSettingsOfAComponentNeverRead) {
  AllConfig config;
  config.more = {Component("plain"), Component("not_registered")};
  const Node node = write_config(config);
  EXPECT_EQ(node.find("part")->find("adam")->find("learning_rate")->value(), "0.001");
  EXPECT_EQ(node.find("more")->items()[1].value(), "not_registered");
}

const FieldInfo* row_of(const std::vector<FieldInfo>& rows, const std::string& key) {
  for (const FieldInfo& row : rows) {
    if (row.key == key) return &row;
  }
  ADD_FAILURE() << "no row " << key;
  return &rows.front();
}

TEST(Fields, DescribeGivesOneRowPerField) {
  AllConfig config;
  const std::vector<FieldInfo> rows = describe_config(config);
  ASSERT_EQ(rows.size(), 14u);
  const auto expect_row = [&](const char* key, const char* type, const char* value, const char* range) {
    const FieldInfo& row = *row_of(rows, key);
    EXPECT_EQ(row.type, type) << key;
    EXPECT_EQ(row.default_value, value) << key;
    EXPECT_EQ(row.range, range) << key;
    EXPECT_FALSE(row.required) << key;
  };
  expect_row("flag", "true|false", "false", "");
  expect_row("count", "integer", "128", "1..100000");
  expect_row("ratio", "number", "0.5", "> 0 and <= 1");
  expect_row("name", "text", "base", "");
  expect_row("words", "list of text", "[a, b]", "");
  expect_row("betas", "list of numbers", "[0.9, 0.95]", "");
  expect_row("limit", "integer or null", "null", ">= 0");
  expect_row("temperature", "number or null", "1.5", "> 0");
  expect_row("mode", "one of fast|exact", "fast", "");
  expect_row("range.low", "integer", "1", "");
  expect_row("part", "component: parts", "adam", "");
  expect_row("more", "list of components: parts", "[]", "");
  expect_row("rules", "any", "null", "");
  EXPECT_EQ(rows[1].help, "how many");
}

TEST(Fields, HelpTextAligns) {
  AdamConfig config;
  EXPECT_EQ(help_text(config),
            "  learning_rate  step size (number, default 0.001, > 0)\n"
            "  warmup         steps (integer, default 0, >= 0)\n");
  NeedyConfig needy;
  EXPECT_EQ(help_text(needy, 0), "path  where (text, required)\n");
  NoConfig none;
  EXPECT_EQ(help_text(none), "");
}

TEST(Range, ContainsAndText) {
  EXPECT_TRUE((Range{1, 4}).contains(4));
  EXPECT_FALSE((Range{1, 4}).contains(4.5));
  EXPECT_FALSE(positive().contains(0));
  EXPECT_TRUE(non_negative().contains(0));
  EXPECT_FALSE(Range{}.contains(std::nan("")));
  EXPECT_EQ((Range{1, 4096}).text(), "1..4096");
  EXPECT_EQ((Range{0.5, 1}).text(), "0.5..1");
  EXPECT_EQ(positive().text(), "> 0");
  EXPECT_EQ(non_negative().text(), ">= 0");
  EXPECT_EQ((Range{-INFINITY, 3}).text(), "<= 3");
  EXPECT_EQ(Range{}.text(), "");
  const Range half{0, 1, /*low_open=*/false, /*high_open=*/true};
  EXPECT_TRUE(half.contains(0));
  EXPECT_FALSE(half.contains(1));
  EXPECT_EQ(half.text(), ">= 0 and < 1");
}

}  // namespace
}  // namespace rqat::base
