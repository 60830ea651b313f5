#include "rqat/io/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/fault_point.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "temporary_folder.h"

namespace rqat::io {
namespace {

namespace fs = std::filesystem;

Checkpoint sample(int64_t value = 0) {
  return {R"({"step": 7})",
          {{"master.a", at::arange(10, at::kFloat) + value},
           {"master.b", at::full({2, 3}, value, at::kBFloat16)},
           {"optimizer.step", at::tensor(value, at::kLong)}}};
}

void expect_equal(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(tensor.scalar_type(), b.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
  }
}

std::string error_of(const fs::path& path) {
  try {
    read_checkpoint(path);
  } catch (const base::IoError& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(Checkpoint, ReadsBackInOneFileAndInShards) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "step-7", sample());
  EXPECT_TRUE(fs::exists(folder / "step-7/state-00001-of-00001.safetensors"));
  expect_equal(read_checkpoint(folder / "step-7").tensors, sample().tensors);
  EXPECT_EQ(nlohmann::json::parse(read_checkpoint(folder / "step-7").state).at("step"), 7);
  // 40 + 12 + 8 bytes: the second and third fit together.
  write_checkpoint(folder / "step-8", sample(), 32);
  EXPECT_TRUE(fs::exists(folder / "step-8/state-00002-of-00002.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "step-8/state-00003-of-00003.safetensors"));
  expect_equal(read_checkpoint(folder / "step-8").tensors, sample().tensors);
}

TEST(Checkpoint, DamageIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "step-7", file = path / "state-00001-of-00001.safetensors";
  const auto fresh = [&] { write_checkpoint(path, sample()); };
  fresh();
  std::string bytes = base::read_file(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  base::write_file(file, bytes);
  EXPECT_NE(error_of(path).find("state-00001-of-00001.safetensors: its content is not what was written"),
            std::string::npos);
  base::write_file(file, bytes.substr(0, bytes.size() - 1));
  EXPECT_NE(error_of(path).find("the manifest says"), std::string::npos);
  fs::remove(file);
  EXPECT_NE(error_of(path).find("is missing; the checkpoint is not complete"), std::string::npos);
  fresh();
  nlohmann::json manifest = read_json(path / "manifest.json");
  manifest["format_version"] = 2;
  write_json(path / "manifest.json", manifest);
  EXPECT_NE(error_of(path).find("not a checkpoint of this version of rqat"), std::string::npos);
  manifest["format_version"] = 1;
  for (const char* name : {"../state.safetensors", "/etc/passwd", "a/../../b", "..", "."}) {
    nlohmann::json other = manifest;
    other["files"] = {{name, {{"bytes", 1}, {"hash", ""}}}};
    write_json(path / "manifest.json", other);
    EXPECT_NE(error_of(path).find("which is not in its folder"), std::string::npos) << name;
  }
  manifest.erase("files");
  write_json(path / "manifest.json", manifest);
  EXPECT_NE(error_of(path).find("manifest.json: "), std::string::npos);
  fs::remove(path / "manifest.json");
  EXPECT_NE(error_of(path).find("manifest.json"), std::string::npos);
}

TEST(Checkpoint, ListedByNumberWithoutWhatIsNotFinished) {
  const TemporaryFolder folder;
  for (const char* name : {"step-10", "step-9", "step-11.partial", "step-x", "block-3", "step-8.removed"})
    fs::create_directories(folder / name);
  std::vector<int64_t> numbers;
  for (const CheckpointPlace& place : list_checkpoints(folder.path(), "step")) numbers.push_back(place.number);
  EXPECT_EQ(numbers, (std::vector<int64_t>{9, 10}));
  EXPECT_TRUE(list_checkpoints(folder / "none", "step").empty());
}

TEST(CheckpointWriter, KeepsTheNewestAndCopiesBeforeItReturns) {
  const TemporaryFolder folder;
  CheckpointWriter writer(folder.path(), "step", 2);
  Checkpoint changing = sample();
  for (int64_t step = 1; step <= 4; ++step) {
    changing.tensors["master.a"].fill_(step);
    writer.save(step, changing);
    changing.tensors["master.a"].fill_(-1);
  }
  writer.wait();
  const auto places = list_checkpoints(folder.path(), "step");
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places.front().number, 3);
  for (const CheckpointPlace& place : places) {
    EXPECT_TRUE(
        at::equal(read_checkpoint(place.path).tensors.at("master.a"), at::full({10}, place.number, at::kFloat)));
  }
}

TEST(CheckpointWriter, AFailureComesOutAtTheNextCallAndOlderOnesStay) {
  const TemporaryFolder folder;
  CheckpointWriter writer(folder.path(), "step", 1);
  writer.save(1, sample());
  writer.wait();
  base::set_disk_full_at(3);
  writer.save(2, sample());
  EXPECT_THROW(
      {
        // check() does not wait; sooner or later it tells.
        for (int i = 0; i < 10000; ++i) {
          writer.check();
          ::usleep(1000);
        }
      },
      base::IoError);
  base::set_disk_full_at(0);
  writer.check();
  const auto places = list_checkpoints(folder.path(), "step");
  ASSERT_EQ(places.size(), 1u);
  expect_equal(read_checkpoint(places.front().path).tensors, sample().tensors);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  writer.save(2, sample(2));
  writer.wait();
  expect_equal(read_checkpoint(folder / "step-2").tensors, sample(2).tensors);
}

}  // namespace
}  // namespace rqat::io
