#include "rqat/io/safetensors.h"
#include "rqat/base/progress.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "io/corruption.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"

namespace rqat::io {
namespace {

using nlohmann::json;

/// A file from a header and data, put together by hand.
std::string make_file(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TensorMap sample_tensors() {
  at::manual_seed(1);
  TensorMap tensors;
  for (const at::ScalarType dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte,
        at::kUInt16, at::kUInt32, at::kUInt64, at::kBool, at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kFloat8_e8m0fnu}) {
    tensors[at::toString(dtype)] = at::randint(0, 2, {3, 5}, at::kFloat).to(dtype);
  }
  tensors["scalar"] = at::scalar_tensor(2.5, at::kDouble);
  tensors["empty"] = at::empty({0, 7}, at::kFloat);
  return tensors;
}

void expect_same(const at::Tensor& actual, const at::Tensor& expected, const std::string& name) {
  ASSERT_EQ(actual.scalar_type(), expected.scalar_type()) << name;
  ASSERT_EQ(actual.sizes(), expected.sizes()) << name;
  const at::Tensor plain = expected.contiguous();
  if (plain.nbytes() == 0) return;
  EXPECT_EQ(std::memcmp(actual.const_data_ptr(), plain.const_data_ptr(), plain.nbytes()), 0) << name;
}

TEST(Safetensors, EveryDtypeComesBackBitForBit) {
  const TemporaryFolder folder;
  const TensorMap tensors = sample_tensors();
  write_safetensors(folder / "a.safetensors", tensors, {{"origin", "here"}});
  const SafetensorsReader reader(folder / "a.safetensors");
  EXPECT_EQ(reader.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"origin", "here"}}));
  ASSERT_EQ(reader.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) expect_same(reader.read(name), tensor, name);
  EXPECT_FALSE(reader.has("absent"));
  RQAT_EXPECT_IO_ERROR(reader.read("absent"), "has no tensor 'absent'");
}

TEST(Safetensors, DataAreAlignedToTheirElement) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", sample_tensors());
  const std::string bytes = base::read_file(folder / "a.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  EXPECT_EQ(header % 8, 0u);
  const SafetensorsReader reader(folder / "a.safetensors");
  for (const auto& [name, info] : reader.tensors()) {
    EXPECT_EQ(info.begin % static_cast<int64_t>(at::elementSize(info.dtype)), 0) << name;
  }
}

TEST(Safetensors, StridedTensorsAreWrittenInRowOrder) {
  const TemporaryFolder folder;
  const at::Tensor strided = at::arange(24).reshape({4, 6}).t();
  write_safetensors(folder / "a.safetensors", {{"x", strided}});
  EXPECT_TRUE(SafetensorsReader(folder / "a.safetensors").read("x").equal(strided));
}

/// Tensors that were read are copies: the file's pages are let go, or a whole checkpoint would count twice.
TEST(Safetensors, PagesOfTheFileDoNotStayInMemory) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer's notes about each page stay";
#endif
  const TemporaryFolder folder;
  constexpr int64_t kBytes = int64_t{64} << 20;
  const std::string name = "w";
  write_safetensors(folder / "a.safetensors", {{name, at::ones({kBytes}, at::kByte)}});
  const SafetensorsReader reader(folder / "a.safetensors");
  const int64_t before = base::resident_bytes();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reader.read(name).sum().item<int64_t>(), kBytes);  // the copy goes with it
  EXPECT_LT(base::resident_bytes() - before, kBytes / 2);
}

TEST(Safetensors, ReadsAHandMadeFile) {
  const TemporaryFolder folder;
  write_plain(folder / "a",
              make_file("{\"w\":" + entry("I16", "[2]", "[0,4]") + "}   ", std::string("\x01\x00\xff\xff", 4)));
  const at::Tensor tensor = SafetensorsReader(folder / "a").read("w");
  EXPECT_EQ(tensor[0].item<int>(), 1);
  EXPECT_EQ(tensor[1].item<int>(), -1);
}

TEST(Safetensors, FaultsOfTheHeaderAreNamed) {
  const TemporaryFolder folder;
  const auto path = folder / "a.safetensors";
  const auto expect = [&](const std::string& bytes, const std::string& part) {
    write_plain(path, bytes);
    RQAT_EXPECT_IO_ERROR(SafetensorsReader{path}, part);
  };
  const auto expect_entry = [&](const std::string& text, const std::string& part) {
    expect(make_file("{\"w\":" + text + "}", "12345678"), part);
  };
  expect("1234", "4 bytes are too few");
  expect(std::string(8, '\xff') + "{}", "at most 100000000 are allowed");
  expect(make_file("{}", "").substr(0, 9), "truncated?");
  expect(make_file(" {}", ""), "does not start with '{'");
  expect(make_file("{\"w\":", ""), "malformed JSON");
  expect_entry("3", "tensor 'w': its entry is not an object");
  expect_entry(R"({"shape":[2]})", "has no dtype");
  expect_entry(entry("F31", "[2]", "[0,8]"), "unknown dtype 'F31' (one of F64, F32");
  expect_entry(R"({"dtype":"F32","data_offsets":[0,8]})", "has no list 'shape'");
  expect_entry(entry("F32", "[-2]", "[0,8]"), "shape holds -2, not a count");
  expect_entry(entry("F32", "[18446744073709551615]", "[0,8]"), "not a count");
  expect_entry(entry("F32", "[2]", "[0,8,9]"), "are not [begin, end]");
  expect_entry(entry("F32", "[2]", "[8,0]"), "are not inside the 8 bytes of data");
  expect_entry(entry("F32", "[4]", "[0,16]"), "are not inside the 8 bytes of data (truncated?)");
  expect_entry(entry("F32", "[3]", "[0,8]"), "shape [3] of Float does not fill its 8 bytes");
  expect_entry(entry("F32", "[4611686018427387906]", "[0,8]"), "does not fill");
  expect_entry(entry("F32", "[0,4611686018427387904,4]", "[0,0]"), "does not fill");
  expect_entry(entry("U8", "[4]", "[4,8]"), "begins at byte 4, expected 0 (hole before it)");
  expect_entry(entry("U8", "[4]", "[0,4]"), "4 bytes behind the last tensor");
  expect_entry(entry("U8", "[6]", "[0,6]") + ",\"v\":" + entry("U8", "[4]", "[4,8]"), "(overlaps another)");
  expect(make_file(R"({"__metadata__":[]})", ""), "__metadata__ is not an object");
  expect(make_file(R"({"__metadata__":{"a":1}})", ""), "__metadata__ 'a' is not a string");
}

TEST(Safetensors, FaultsOfWritingLeaveNoFile) {
  const TemporaryFolder folder;
  const auto path = folder / "a.safetensors";
  const auto write_layout = [&](const std::string& name, std::vector<int64_t> shape) {
    write_safetensors_streamed(path, {{name, {at::kFloat, std::move(shape)}}},
                               [](const auto&) { return at::ones({3}); });
  };
  RQAT_EXPECT_IO_ERROR(write_safetensors(path, {{"c", at::ones({1}, at::kComplexFloat)}}),
                       "tensor 'c' has dtype ComplexFloat");
  RQAT_EXPECT_IO_ERROR(write_safetensors(path, {{"__metadata__", at::ones({1})}}), "cannot be named __metadata__");
  RQAT_EXPECT_IO_ERROR(write_safetensors(path, {{"u", at::Tensor()}}), "tensor 'u' is undefined");
  RQAT_EXPECT_IO_ERROR(write_layout("w", {2}), "was made as Float [3], announced as Float [2]");
  RQAT_EXPECT_IO_ERROR(write_layout("w", {int64_t{1} << 62, 4}), "is too large");
  RQAT_EXPECT_IO_ERROR(write_layout(std::string(100'000'001, 'n'), {3}), "at most 100000000 are allowed");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, DamagedFilesGiveErrors) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a",
                    {{"w", at::rand({4, 8})}, {"b", at::ones({3}, at::kByte)}, {"n", at::ones({2}, at::kLong)}});
  const std::string bytes = base::read_file(folder / "a");
  const auto use = [&](const std::filesystem::path& path) {
    const SafetensorsReader reader(path);
    for (const auto& [name, info] : reader.tensors()) {
      EXPECT_LE(reader.read(name).nbytes(), bytes.size());
    }
  };
  const auto counts = run_corruptions(bytes, 150, 4000, bytes.size(), use);
  EXPECT_GT(counts.errors, 1000);
  EXPECT_GT(counts.successes, 100);
}

class TensorSourceTest : public ::testing::Test {
 protected:
  void write_index(const json& weight_map) {
    write_json(folder_ / "model.safetensors.index.json",
               {{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}});
  }
  void expect_error(const std::string& part) { RQAT_EXPECT_IO_ERROR(TensorSource{folder_.path()}, part); }
  TemporaryFolder folder_;
};

TEST_F(TensorSourceTest, ReadsOneFileAndShards) {
  write_safetensors(folder_ / "s1.safetensors", {{"a", at::ones({2})}, {"b", at::zeros({3})}});
  std::filesystem::create_directories(folder_ / "sub");
  write_safetensors(folder_ / "sub/s2.safetensors", {{"c", at::full({1}, 7)}});
  write_index({{"a", "s1.safetensors"}, {"b", "s1.safetensors"}, {"c", "sub/s2.safetensors"}});
  const TensorSource shards(folder_.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(shards.read("c").item<float>(), 7);
  EXPECT_EQ(shards.info("b").shape, std::vector<int64_t>{3});
  EXPECT_FALSE(shards.has("d"));
  RQAT_EXPECT_IO_ERROR(shards.read("d"), "has no tensor 'd'");

  const TensorSource file(folder_ / "s1.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"}));
  write_safetensors(folder_ / "model.safetensors", {{"z", at::ones({1})}});
  EXPECT_EQ(TensorSource(folder_.path()).names(), std::vector<std::string>{"z"}) << "one file goes before an index";
}

TEST_F(TensorSourceTest, FaultsAreNamed) {
  RQAT_EXPECT_IO_ERROR(TensorSource{folder_ / "absent"}, "absent: no such file or folder");
  expect_error("holds neither model.safetensors nor model.safetensors.index.json");
  write_plain(folder_ / "pytorch_model.bin", "x");
  expect_error("pytorch_model.bin: pickled weights are not read");
  RQAT_EXPECT_IO_ERROR(TensorSource{folder_ / "pytorch_model.bin"}, "convert them to safetensors");
  write_json(folder_ / "model.safetensors.index.json", {{"weights", 1}});
  expect_error("has no object 'weight_map'");
  write_json(folder_ / "model.safetensors.index.json", json::array());
  expect_error("has no object 'weight_map'");
  write_index({{"a", 3}});
  expect_error("tensor 'a' has no file name");
  for (const char* outside : {"../s1.safetensors", "x/../../s1.safetensors", "/etc/passwd", ""}) {
    write_index({{"a", outside}});
    expect_error("which is outside the folder");
  }
  write_index({{"a", "absent.safetensors"}});
  expect_error("absent.safetensors");
  write_safetensors(folder_ / "s1.safetensors", {{"b", at::ones({2})}});
  write_index({{"a", "s1.safetensors"}});
  expect_error("tensor 'a' is not in 's1.safetensors'");
}

TEST(ModelShards, AreWhatTheIndexSays) {
  const TemporaryFolder folder;
  std::map<std::string, TensorInfo> layout;
  TensorMap tensors;
  for (int64_t i = 0; i < 5; ++i) {
    const std::string name = base::cat("w", i);
    tensors[name] = at::full({4, 8}, static_cast<double>(i));
    layout[name] = {at::kFloat, {4, 8}};
  }
  std::vector<std::string> made;
  const auto make = [&](const std::string& name) {
    made.push_back(name);
    return tensors.at(name);
  };
  for (const char* name : {"whole", "cut"}) std::filesystem::create_directories(folder / name);
  write_model_tensors(folder / "whole", layout, make);
  EXPECT_TRUE(std::filesystem::exists(folder / "whole/model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder / "whole/model.safetensors.index.json"));
  write_model_tensors(folder / "cut", layout, make, 2 * 4 * 8 * 4);
  EXPECT_EQ(made.size(), 10u);  // each once per writing
  const nlohmann::json index = read_json(folder / "cut/model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 5 * 4 * 8 * 4);
  EXPECT_EQ(index["weight_map"]["w1"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["w4"], "model-00003-of-00003.safetensors");
  EXPECT_FALSE(std::filesystem::exists(folder / "cut/model.safetensors"));
  const TensorSource source(folder / "cut");
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(source.read(name), tensor)) << name;
}

}  // namespace
}  // namespace rqat::io
