// What every entry of every registry promises, so that a new one is tested the moment its line exists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "cli/kinds.h"
#include "rqat/base/fields.h"
#include "rqat/base/registry.h"
#include "rqat/base/strings.h"

namespace rqat {
namespace {

namespace fs = std::filesystem;
using base::cat;
using base::EntryInfo;
using base::FieldInfo;
using base::RegistryBase;

/// Every `src/<module>/<kind>.def` of the source tree with the stems of its lines.
std::map<std::string, std::pair<fs::path, std::vector<std::string>>> listed_entries() {
  std::map<std::string, std::pair<fs::path, std::vector<std::string>>> kinds;
  const std::regex line_shape(R"(^RQAT_ENTRY\(([a-z0-9_]+)\))");
  for (const auto& file : fs::recursive_directory_iterator(fs::path(RQAT_SOURCE_DIR) / "src")) {
    if (file.path().extension() != ".def") continue;
    auto& [path, names] = kinds[file.path().stem().string()];
    path = file.path();
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      std::smatch found;
      if (std::regex_search(line, found, line_shape)) names.push_back(found[1]);
    }
  }
  return kinds;
}

template <class Check>
void for_each_entry(Check check) {
  size_t seen = 0;
  for (const RegistryBase* registry : cli::all_kinds()) {
    for (const EntryInfo* info : registry->infos()) {
      SCOPED_TRACE(cat(registry->kind(), " ", info->name));
      check(*registry, *info);
      ++seen;
    }
  }
  EXPECT_GE(seen, 40u);
}

TEST(Registries, EveryDefFileIsAKindAndItsStemsAreTheNamesInOrder) {
  const auto listed = listed_entries();
  std::set<std::string> kinds;
  for (const RegistryBase* registry : cli::all_kinds()) {
    EXPECT_TRUE(kinds.insert(registry->kind()).second) << registry->kind() << " stands twice";
    ASSERT_EQ(listed.count(registry->kind()), 1u) << registry->kind() << ".def is missing";
    EXPECT_EQ(registry->names(), listed.at(registry->kind()).second) << registry->kind();
  }
  for (const auto& [kind, entries] : listed) {
    EXPECT_EQ(kinds.count(kind), 1u) << entries.first << " is not among the kinds of `rqat list`";
    for (const std::string& name : entries.second) {
      EXPECT_TRUE(fs::exists(entries.first.parent_path() / kind / (name + ".cpp"))) << kind << "/" << name;
    }
  }
  for (const char* kind : {"tasks", "objectives", "optimizers", "estimators", "quantizers", "initializers", "exporters",
                           "rewards", "families", "stages"}) {
    EXPECT_EQ(kinds.count(kind), 1u) << kind;
  }
}

TEST(Registries, EntriesTellWhatTheyAre) {
  const std::regex paper(R"(\d{4}\.\d{4,5})");
  for_each_entry([&](const RegistryBase& registry, const EntryInfo& info) {
    EXPECT_GE(info.help.size(), 10u);
    EXPECT_EQ(info.help.find('\n'), std::string::npos) << "one line";
    EXPECT_TRUE(info.paper.empty() || std::regex_match(info.paper, paper)) << info.paper;
    EXPECT_EQ(registry.find_info(info.name), &info);
    EXPECT_NE(registry.unknown_text(info.name + "x").find(cat("did you mean '", info.name, "'")), std::string::npos)
        << registry.unknown_text(info.name + "x");
  });
}

TEST(Registries, SettingsAreDescribedAndUnique) {
  const std::regex key_shape(R"([a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*)");
  for_each_entry([&](const RegistryBase&, const EntryInfo& info) {
    const auto config = info.make_config();
    ASSERT_NE(config, nullptr);
    std::set<std::string> keys;
    for (const FieldInfo& field : base::describe_config(*config)) {
      EXPECT_TRUE(std::regex_match(field.key, key_shape)) << field.key;
      EXPECT_TRUE(keys.insert(field.key).second) << field.key << " stands twice";
      EXPECT_FALSE(field.help.empty()) << field.key;
      EXPECT_FALSE(field.type.empty()) << field.key;
    }
    EXPECT_EQ(base::help_text(*config).empty(), keys.empty());
  });
}

/// Settings written out and read back are the same settings, but for keys without a default.
TEST(Registries, DefaultsRoundTrip) {
  for_each_entry([&](const RegistryBase& registry, const EntryInfo& info) {
    const auto config = info.make_config(), again = info.make_config();
    std::set<std::string> required;
    for (const FieldInfo& field : base::describe_config(*config)) {
      if (field.required) required.insert(field.key);
    }
    const std::string written = base::write_config(*config).dump();
    base::Faults faults;
    base::read_config(*again, base::Node::parse(written, "defaults"), "", faults);
    for (const std::string& line : faults.lines()) {
      // `rqat validate` wants one of two options, so that neither is required.
      EXPECT_TRUE(!required.empty() || registry.kind() == "commands") << "defaults are refused: " << line << "\n"
                                                                      << written;
    }
    EXPECT_EQ(base::write_config(*again).dump(), written);
  });
}

TEST(Registries, UnknownSettingsAreRefused) {
  for_each_entry([&](const RegistryBase&, const EntryInfo& info) {
    const auto config = info.make_config();
    base::Faults faults;
    base::read_config(*config, base::Node::parse("no_such_setting_here: 1", "recipe.yaml"), "path", faults);
    EXPECT_THAT(faults.lines(),
                testing::Contains(testing::HasSubstr("recipe.yaml:1: path.no_such_setting_here: unknown key")));
  });
}

}  // namespace
}  // namespace rqat
