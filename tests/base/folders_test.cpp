#include "rqat/base/folders.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

namespace fs = std::filesystem;

std::string io_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const IoError& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// The disk is full from the `place`-th write on.
struct FullDisk {
  explicit FullDisk(int64_t place) { set_disk_full_at(place); }
  ~FullDisk() { set_disk_full_at(0); }
};

TEST(Folders, RemovedWithAllTheirContent) {
  const TemporaryFolder folder;
  make_folders(folder / "a/b/c");
  write_file(folder / "a/b/file", "text");
  remove_folder(folder / "a");
  EXPECT_TRUE(fs::is_empty(folder / ""));
  remove_folder(folder / "a");
}

TEST(Folders, MakingOneWhereAFileIs) {
  const TemporaryFolder folder;
  write_file(folder / "a", "text");
  EXPECT_NE(io_error_of([&] { make_folders(folder / "a/b"); }).find("cannot make the folder"), std::string::npos);
}

TEST(Folders, LeftoversOfDeadProcessesGo) {
  const TemporaryFolder folder;
  make_folders(folder / "step-1");
  make_folders(folder / "step-2.partial");
  make_folders(folder / "run.removed");
  write_file(folder / "a.json", "{}");
  // No process has this number: the kernel's limit is 4194304.
  write_file(folder / "a.json.partial-99999999-3", "{");
  write_file(folder / cat("b.json.partial-", ::getpid(), "-0"), "{");
  remove_leftovers(folder / "");
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder / "")) names.insert(entry.path().filename().string());
  EXPECT_EQ(names, (std::set<std::string>{"step-1", "a.json", cat("b.json.partial-", ::getpid(), "-0")}));
  remove_leftovers(folder / "none");
}

TEST(Folders, LeftoversOfOthersStay) {
  const TemporaryFolder folder;
  for (const char* name : {"kd.partial", "kd.removed", "data.partial"}) make_folders(folder / name);
  write_file(folder / "run.json.partial-99999999-3", "{");
  EXPECT_TRUE(holds_nothing(folder / ""));
  remove_leftovers(folder / "", {"kd", "rl"});
  EXPECT_TRUE(fs::exists(folder / "data.partial"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / ""), fs::directory_iterator()), 1);
  write_file(folder / "notes.txt", "mine");
  EXPECT_FALSE(holds_nothing(folder / ""));
  EXPECT_TRUE(holds_nothing(folder / "none"));
}

TEST(Folders, WhatLiesInAFolder) {
  const TemporaryFolder folder;
  make_folders(folder / "a/b");
  fs::create_directory_symlink(folder / "a", folder / "link");
  for (const char* inside : {"a", "a/", "a/b", "a/./b/../c/d", "link", "link/b"})
    EXPECT_TRUE(lies_in(folder / inside, folder / "a/")) << inside;
  for (const char* outside : {"", "ab", "b/a", "a/.."})
    EXPECT_FALSE(lies_in(folder / outside, folder / "a")) << outside;
}

TEST(Folders, FreeSpaceIsTold) {
  const TemporaryFolder folder;
  const std::string text = free_space_text(folder / "not/there/yet");
  EXPECT_NE(text.find(" free in "), std::string::npos) << text;
  EXPECT_EQ(text.find("not/there"), std::string::npos) << text;
}

// A file that is written takes five places: creation, content, sync, rename, sync of its folder.
TEST(FaultPoint, AFullDiskIsToldAndTheOldFileStays) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  for (int64_t place = 1; place <= 5; ++place) {
    SCOPED_TRACE(place);
    {
      const FullDisk full(place);
      const std::string message = io_error_of([&] { write_file(folder / "a", "new"); });
      EXPECT_NE(message.find((folder / "a").parent_path().string()), std::string::npos) << message;
      EXPECT_NE(message.find("No space left on device ("), std::string::npos) << message;
      EXPECT_NE(message.find(" free in "), std::string::npos) << message;
    }
    EXPECT_EQ(read_file(folder / "a"), place < 5 ? "old" : "new");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder / ""), fs::directory_iterator()), 1);
  }
  const FullDisk full(6);
  write_file(folder / "a", "newer");
  EXPECT_THROW(make_folders(folder / "b"), IoError);
}

TEST(FaultPoint, LinesAndSyncsToo) {
  const TemporaryFolder folder;
  LineWriter lines(folder / "metrics");
  const FullDisk full(1);
  EXPECT_THROW(lines.line("{}"), IoError);
  EXPECT_THROW(sync_file(folder / "metrics"), IoError);
  EXPECT_THROW(sync_file(folder / "none"), IoError);
}

}  // namespace
}  // namespace rqat::base
