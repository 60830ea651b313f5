#include "data/readers/record_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/support.h"
#include "data/readers/byte_source.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"

namespace rqat::data {
namespace {

using base::expect_contains;
using base::message_of;
using nlohmann::json;

std::string gzip(const std::string& text) {
  z_stream z = {};
  EXPECT_EQ(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(text.size() + 1024, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return packed.substr(0, z.total_out);
}

std::string zstd(const std::string& text) {
  std::string packed(text.size() + 1024, '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

class Readers : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    base::write_file(folder_ / name, content);
    return folder_ / name;
  }
  std::vector<json> read(const std::string& name, const std::string& content) {
    const auto reader = open_reader(write(name, content), {});
    std::vector<json> records;
    for (json record; reader->next(record);) {
      records.push_back(record);
      places_.push_back(reader->where().substr(folder_.path().string().size() + 1));
    }
    return records;
  }
  std::string fault(const std::string& name, const std::string& content) {
    return message_of<base::DataError>([&] { read(name, content); });
  }
  /// Contents and what is said of them.
  void expect_faults(const std::string& name, const std::vector<std::pair<std::string, std::string>>& cases) {
    for (const auto& [content, what] : cases) expect_contains(fault(name, content), what);
  }
  base::TemporaryFolder folder_;
  std::vector<std::string> places_;
};

/// More than one buffer of every layer, and not compressible to nothing.
std::string many_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += json({{"i", i}, {"t", std::to_string(i * 2654435761u)}}).dump() + "\n";
  return text;
}

TEST_F(Readers, CompressedFilesAreToldByTheirBytes) {
  const std::string plain = many_lines(20000);
  for (const auto& [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"a.jsonl", plain},
           {"a.jsonl.gz", gzip(plain)},
           {"b.jsonl.gz", gzip(many_lines(10)) + gzip(plain.substr(many_lines(10).size()))},  // two members
           {"a.jsonl.zst", zstd(plain)},
           {"b.jsonl.zst", zstd(many_lines(10)) + zstd(plain.substr(many_lines(10).size()))},
           {"c.jsonl.gz", plain},  // unpacked on the way, but not renamed
           {"a.ndjson", zstd(plain)}}) {
    const std::vector<json> records = read(name, content);
    ASSERT_EQ(records.size(), 20000u) << name;
    EXPECT_EQ(records[19999]["i"], 19999) << name;
  }
}

TEST_F(Readers, DamagedAndTruncatedCompressedFiles) {
  const std::string plain = many_lines(5000);
  for (const auto& [format, packed] : {std::pair{std::string("gzip"), gzip(plain)}, {"zstd", zstd(plain)}}) {
    const std::string name = format + ".jsonl";
    std::string half = packed.substr(0, packed.size() / 2), wrong = packed;
    for (size_t i = 0; i < 64; ++i) wrong[packed.size() / 2 + i] ^= 0x5a;
    expect_contains(message_of<base::IoError>([&, &n = name] { read(n, half); }),
                    name + ": damaged " + format + " file: it ends too early; fetch it again");
    const auto skip_all = [&, &n = name] {
      const auto reader = open_reader(write(n, wrong), {});
      while (reader->skip()) {
      }
    };
    expect_contains(message_of<base::IoError>(skip_all), name + ": damaged " + format + " file: ");
  }
}

TEST_F(Readers, LinesKeepTheirNumbers) {
  const auto records = read("a.jsonl", "\xef\xbb\xbf{\"a\": 1}\r\n\n  \n{\"a\": \"x\\ny\"}");
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1]["a"], "x\ny");
  EXPECT_EQ(places_, (std::vector<std::string>{"a.jsonl:1", "a.jsonl:4"}));
  expect_contains(fault("a.jsonl", "{\"a\": 1}\n{\"a\": }"), "a.jsonl:2: not a JSON object: syntax error");
  expect_contains(fault("a.jsonl", "{}\n[1]"), "a.jsonl:2: not a JSON object, but array");
  const std::string deep = "{\"a\": " + std::string(200, '[') + std::string(200, ']') + "}";
  expect_contains(fault("a.jsonl", "{\"a\": \"[[\"}\n" + deep), "a.jsonl:2: a value is nested deeper than 200 levels");
}

TEST_F(Readers, JsonAsListOrOneAfterTheOther) {
  const std::vector<json> wanted{{{"a", "]},[{\\\""}, {"b", {1, {{"c", 2}}}}}, {{"a", nullptr}}};
  const std::string list = json(wanted).dump(2), flat = json(wanted).dump();
  EXPECT_EQ(read("a.json", list), wanted);
  EXPECT_EQ(places_[1], "a.json:11 (record 2)");
  EXPECT_EQ(read("a.json", flat), wanted);
  EXPECT_EQ(read("a.json.gz", gzip(list)), wanted);
  EXPECT_EQ(read("a.json", wanted[0].dump() + "\n" + wanted[1].dump()), wanted) << "lines under the name of JSON";
  EXPECT_EQ(read("a.json", wanted[0].dump(4) + wanted[1].dump(4)), wanted);
  EXPECT_TRUE(read("a.json", " [ ] \n").empty());
  EXPECT_TRUE(read("a.json", "").empty());
}

TEST_F(Readers, FaultsOfJson) {
  expect_faults("a.json", {{"[{\"a\": 1},\n {\"a\": ", "a.json:2: the file ends inside a record"},
                           {"[{\"a\": 1}", "a.json:1: the file ends inside its list"},
                           {"[{\"a\": 1} {}]", "a.json:1: ',' or ']' is expected after a record"},
                           {"[{\"a\": 1}] x", "a.json:1: something follows the end of the list"},
                           {"[{\"a\": 1},]", "a.json:1 (record 2): not a JSON object"},
                           {"[\n12, 13]", "a.json:2 (record 1): not a JSON object, but number"},
                           {"\"abc\"", "not a JSON object, but string"},
                           {"[[[[[[[[[[[[", "the file ends inside a record"}});
}

TEST_F(Readers, CsvOfRfc4180) {
  const auto records = read("a.csv",
                            "question,answer,\"a, \"\"b\"\"\"\r\n"
                            "\"two\r\nlines\",\"say \"\"hi\"\"\",\r\n"
                            "\n"
                            "x, y ,\"\"\r\n"
                            "1,2,3");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0], (json{{"question", "two\r\nlines"}, {"answer", "say \"hi\""}, {"a, \"b\"", ""}}));
  EXPECT_EQ(records[1], (json{{"question", "x"}, {"answer", " y "}, {"a, \"b\"", ""}}));
  EXPECT_EQ(records[2]["a, \"b\""], "3");
  EXPECT_EQ(places_, (std::vector<std::string>{"a.csv:2", "a.csv:5", "a.csv:6"}));
  EXPECT_EQ(read("a.tsv", "a\tb\n1,5\t2\n")[0]["a"], "1,5");
}

TEST_F(Readers, FaultsOfCsv) {
  expect_faults("a.csv", {{"", "a.csv: the file is empty"},
                          {"a,b\n1,2\n1,2,3\n", "a.csv:3: 3 fields, but the first row names 2 columns"},
                          {"a,b\n1\n", "a.csv:2: 1 fields"},
                          {"a,a\n", "a.csv:1: the first row must name the columns, but 'a' is there twice"},
                          {"a,\n", "but one name is empty"},
                          {"a,b\n\"1\" x,2\n", "a.csv:2: text follows the closing quote of a field"},
                          {"a,b\n1,\"2\n3\n", "a.csv:2: the file ends inside a quoted field"}});
}

TEST_F(Readers, SkippingGoesRecordByRecord) {
  for (const auto& [name, content] :
       std::vector<std::pair<std::string, std::string>>{{"a.jsonl", "{\"a\": 1}\n\n{broken}\n{\"a\": 3}\n"},
                                                        {"a.json", "[{\"a\": 1}, {broken}, {\"a\": 3}]"},
                                                        {"a.csv", "a\n1\n\"two\nlines\"\n3\n"}}) {
    const auto reader = open_reader(write(name, content), {});
    ASSERT_TRUE(reader->skip()) << name;
    ASSERT_TRUE(reader->skip()) << name << ": it does not look inside";
    json record;
    ASSERT_TRUE(reader->next(record)) << name;
    EXPECT_EQ(record["a"].is_string() ? record["a"].get<std::string>() : record["a"].dump(), "3");
    EXPECT_FALSE(reader->skip()) << name;
    EXPECT_FALSE(reader->next(record)) << name;
  }
}

TEST_F(Readers, FilesByPattern) {
  for (const char* name : {"b.jsonl", "a.jsonl", "c.json"}) write(name, "");
  const auto names = [&](const std::string& pattern) {
    std::vector<std::string> found;
    for (const auto& file : files_of((folder_ / pattern).string())) found.push_back(file.filename().string());
    return found;
  };
  EXPECT_EQ(names("*.jsonl"), (std::vector<std::string>{"a.jsonl", "b.jsonl"}));
  EXPECT_EQ(names("{c.json,a.jsonl}"), (std::vector<std::string>{"c.json", "a.jsonl"}));
  write("odd[1].jsonl", "");
  EXPECT_EQ(names("odd[1].jsonl"), (std::vector<std::string>{"odd[1].jsonl"})) << "a file of that very name";
  expect_contains(message_of<base::IoError>([&] { names("*.csv"); }),
                  "*.csv: no file fits this pattern (names are relative to ");
}

TEST_F(Readers, OtherEndingsAreRefused) {
  expect_contains(message_of<base::IoError>([&] { read("a.txt", "x"); }),
                  "a.txt: the ending of the name does not say what it is; allowed: .jsonl");
  expect_contains(message_of<base::IoError>([&] { open_reader(folder_.path(), {}); }), "is a folder; name its files");
  std::filesystem::create_directory(folder_ / "x.jsonl");
  expect_contains(message_of<base::IoError>([&] { open_reader(folder_ / "x.jsonl", {}); }), "is a folder");
  expect_contains(message_of<base::IoError>([&] { open_reader(folder_ / "none.jsonl", {}); }),
                  "cannot be opened: No such");
}

/// In a build with Arrow it is no Parquet file, in one without it cannot be read: told both ways.
TEST_F(Readers, WhatIsNoParquetFile) {
  try {
    read("a.parquet", "PAR1 but no more");
    FAIL() << "it was read";
  } catch (const base::IoError& error) {
    expect_contains(error.what(), "a.parquet: not a Parquet file that can be read: ");
  } catch (const base::ConfigError& error) {
    expect_contains(error.what(), "this build cannot read Parquet; run tools/setup, configure with -DRQAT_PARQUET=ON");
  }
}

}  // namespace
}  // namespace rqat::data
