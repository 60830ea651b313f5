#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rqat/base/error.h"

namespace rqat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Options : base::Config {
  std::string name;
  std::vector<std::string> rest, tags;
  int64_t group_size = 128;
  base::Node map;
  bool symmetric = false;
  void fields(base::FieldVisitor& v) override {
    v.field("name", name, "a word");
    v.required("name");
    v.field("rest", rest, "what follows");
    v.field("tags", tags, "words");
    v.field("group_size", group_size, "inputs per scale", base::Range{-1, 4096});
    v.tree("map", map, "names");
    v.field("symmetric", symmetric, "no zero point");
  }
};

const Usage kUsage{"Does nothing.", {"rqat nothing x"}, {"name", "rest"}};

Options read(const std::vector<std::string>& arguments, CommonOptions* common_out = nullptr) {
  Options options;
  CommonOptions common;
  read_arguments("nothing", kUsage, arguments, options, common);
  if (common_out != nullptr) *common_out = common;
  return options;
}

std::string fault(const std::vector<std::string>& arguments) {
  try {
    read(arguments);
  } catch (const base::UsageError& error) {
    return error.what();
  }
  return "no fault";
}

TEST(Arguments, PositionalsFlagsListsAndNumbers) {
  const Options options =
      read({"first", "a.b=[1,2]", "--tags", "x,y", "second", "--tags=z", "--group-size", "-1", "--symmetric"});
  EXPECT_EQ(options.name, "first");
  EXPECT_THAT(options.rest, ElementsAre("a.b=[1,2]", "second"));
  EXPECT_THAT(options.tags, ElementsAre("x", "y", "z"));
  EXPECT_EQ(options.group_size, -1);
  EXPECT_TRUE(options.symmetric);
}

TEST(Arguments, TreesAreYaml) {
  EXPECT_EQ(read({"first", "--map", "gsm8k"}).map.value(), "gsm8k");
  const base::Node map = read({"first", "--map", "{question: q, reference: [a, b]}"}).map;
  ASSERT_TRUE(map.is_map());
  EXPECT_EQ(map.find("question")->value(), "q");
  EXPECT_EQ(map.find("reference")->items().size(), 2u);
  EXPECT_THROW(read({"first", "--map", "{question"}), base::ConfigError);
}

TEST(Arguments, ItemsOfListsAreTrimmed) {
  const Options options = read({"first", " as it is ", "--tags", "x, y ,z"});
  EXPECT_THAT(options.tags, ElementsAre("x", "y", "z"));
  EXPECT_THAT(options.rest, ElementsAre(" as it is "));
}

TEST(Arguments, DefaultsStay) {
  const Options options = read({"first"});
  EXPECT_EQ(options.group_size, 128);
  EXPECT_FALSE(options.symmetric);
  EXPECT_TRUE(options.rest.empty());
}

TEST(Arguments, PositionalsMayBeNamed) { EXPECT_EQ(read({"--name", "first"}).name, "first"); }

TEST(Arguments, FlagsCanBeTurnedOff) { EXPECT_FALSE(read({"first", "--symmetric=false"}).symmetric); }

TEST(Arguments, TextThatLooksLikeANumberStaysText) { EXPECT_EQ(read({"12"}).name, "12"); }

TEST(Arguments, CommonOptionsStandAnywhere) {
  CommonOptions common;
  read({"--threads", "3", "first", "--quiet"}, &common);
  EXPECT_EQ(common.threads, 3);
  EXPECT_TRUE(common.quiet);
}

TEST(Arguments, Faults) {
  EXPECT_THAT(fault({}), HasSubstr("rqat nothing: missing NAME (a word)"));
  EXPECT_THAT(fault({"first", "--symetric"}), HasSubstr("did you mean --symmetric?"));
  EXPECT_THAT(
      fault({"first", "--group-size", "4.5"}),
      HasSubstr("rqat nothing: --group-size: expected an integer, found the number 4.5\n`rqat nothing --help`"));
  EXPECT_THAT(fault({"first", "--group-size"}), HasSubstr("rqat nothing: --group-size needs one value"));
  EXPECT_THAT(fault({"first", "-x"}), HasSubstr("unexpected argument '-x'"));
  EXPECT_THAT(fault({"first", "--group-size", "5000"}), HasSubstr("-1..4096"));
  for (const char* threads : {"5000000", "99999999999", "-1"})
    EXPECT_THAT(fault({"first", "--threads", threads}),
                HasSubstr("--threads: " + std::string(threads) + " is out of range; allowed: 0..4096"));
  EXPECT_ANY_THROW(read({"first", "--group-size", "1", "--group-size", "2"}));
}

TEST(Arguments, HelpShowsEveryOptionWithItsDefault) {
  Options options;
  const std::string help = command_help("nothing", "nothing at all", kUsage, options);
  for (const char* text : {"Usage: rqat nothing NAME [REST ...]", "--tags A,B", "--group-size N",
                           "default 128, -1..4096", "--symmetric", "--threads", "Does nothing.", "  rqat nothing x"}) {
    EXPECT_THAT(help, HasSubstr(text));
  }
}

TEST(Commands, EveryHelpPageHasAnExampleThatParses) {
  for (const base::EntryInfo* info : commands().infos()) {
    const Usage usage = commands().make(info->name)->usage();
    const auto config = info->make_config();
    const std::string help = command_help(info->name, info->help, usage, *config);
    EXPECT_GT(usage.about.size(), 40u) << info->name;
    ASSERT_FALSE(usage.examples.empty()) << info->name;
    for (const base::FieldInfo& field : base::describe_config(*config))
      EXPECT_FALSE(field.help.empty()) << info->name << " " << field.key;
    for (const std::string& example : usage.examples) EXPECT_THAT(example, HasSubstr("rqat " + info->name));
    EXPECT_THAT(help, HasSubstr("Usage: rqat " + info->name));
  }
}

}  // namespace
}  // namespace rqat::cli
