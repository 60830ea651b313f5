#include "rqat/io/json_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/corruption.h"
#include "rqat/base/files.h"

namespace rqat::io {
namespace {

using nlohmann::json;

TEST(JsonFile, ReadsWhatItWrote) {
  const TemporaryFolder folder;
  const json value = {
      {"text", "h\u00e9 \u4e16\n\"q\""}, {"numbers", {1, -2.5, 1e-05}}, {"none", nullptr}, {"yes", true}};
  write_json(folder / "a.json", value);
  EXPECT_EQ(read_json(folder / "a.json"), value);
  const std::string text = base::read_file(folder / "a.json");
  EXPECT_EQ(text.substr(0, 4), "{\n  ");
  EXPECT_EQ(text.back(), '\n');
  EXPECT_NE(text.find("\u4e16"), std::string::npos) << "text is kept as UTF-8";
}

TEST(JsonFile, NamesFileAndLineOfAFault) {
  const TemporaryFolder folder;
  write_plain(folder / "bad.json", "{\n  \"a\": 1,\n  \"b\": oops\n}\n");
  RQAT_EXPECT_IO_ERROR(read_json(folder / "bad.json"), "bad.json:3: malformed JSON, syntax error");
  write_plain(folder / "cut.json", "{\n  \"a\": [1,\n");
  RQAT_EXPECT_IO_ERROR(read_json(folder / "cut.json"), "looks truncated");
  write_plain(folder / "empty.json", " \n");
  RQAT_EXPECT_IO_ERROR(read_json(folder / "empty.json"), "empty.json:1: is empty");
  RQAT_EXPECT_IO_ERROR(read_json(folder / "absent.json"), "absent.json");
  RQAT_EXPECT_IO_ERROR(parse_json("{\"a\": 1} x", "here"), "here:1: malformed JSON");
}

TEST(JsonFile, RefusesNumbersThatDoNotFit) {
  RQAT_EXPECT_IO_ERROR(parse_json("[1e999]", "here"), "here: malformed JSON");
}

TEST(JsonFile, LimitsTheDepth) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(200), "here"));
  RQAT_EXPECT_IO_ERROR(parse_json(nested(201), "here"), "here:1: JSON nested deeper than 200 levels");
  RQAT_EXPECT_IO_ERROR(parse_json("\n\n" + std::string(5'000'000, '['), "here"), "here:3: JSON nested deeper");
  EXPECT_EQ(parse_json("[\"" + std::string(500, '[') + "\\\"" + std::string(500, '{') + "\"]", "here").size(), 1u)
      << "brackets in strings do not count";
}

TEST(JsonFile, RefusesToWriteBrokenText) {
  const TemporaryFolder folder;
  RQAT_EXPECT_IO_ERROR(write_json(folder / "a.json", json("\xff\xfe")), "a.json: cannot be written as JSON");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.json"));
}

TEST(JsonFile, DamagedFilesGiveErrors) {
  const json value = {{"model", {{"vocab", {{"a", 0}, {"\u0120b", 1}}}, {"merges", {{"a", "b"}}}}}, {"eps", 1e-6}};
  const auto counts = run_corruptions(value.dump(2), 120, 4000, 1000, [](const auto& path) { read_json(path); });
  EXPECT_GT(counts.errors, 1000);
  EXPECT_GT(counts.successes, 100);
}

}  // namespace
}  // namespace rqat::io
