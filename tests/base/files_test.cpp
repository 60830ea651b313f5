#include "rqat/base/files.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

namespace fs = std::filesystem;

size_t entries_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// Files may not grow beyond `bytes` while it lives: the nearest to a full disk that a test can have.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(Files, ReadsBackWhatWasWritten) {
  const TemporaryFolder folder;
  std::string content(3 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 >> 3);
  write_file(folder / "a", content);
  EXPECT_EQ(read_file(folder / "a"), content);
  write_file(folder / "a", "");
  EXPECT_EQ(read_file(folder / "a"), "");
  EXPECT_EQ(entries_in(folder.path()), 1u);
}

TEST(Files, ReadsFilesOfUnknownSize) { expect_contains(read_file("/proc/self/status"), "VmRSS:"); }

TEST(Files, ReadThrowsForMissingAndFolder) {
  const TemporaryFolder folder;
  expect_contains(message_of<IoError>([&] { read_file(folder / "none"); }), "none: cannot open the file: No such file");
  expect_contains(message_of<IoError>([&] { read_file(folder.path()); }), "Is a directory");
}

TEST(Files, WriteThrowsForMissingFolderAndFolder) {
  const TemporaryFolder folder;
  EXPECT_EQ(message_of<IoError>([&] { write_file(folder / "x/y", "a"); }),
            cat((folder / "x/y").string(), ": cannot create the file: the folder ", (folder / "x").string(),
                " does not exist; make it first"));
  expect_contains(message_of<IoError>([&] { write_file(folder.path(), "a"); }), "Is a directory");
}

TEST(Files, FailedWriteKeepsTheOldFileAndLeavesNothing) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  {
    const SizeLimit limit(4096);
    const std::string message = message_of<IoError>([&] { write_file(folder / "a", std::string(100000, 'x')); });
    expect_contains(message, "cannot write the file: File too large");
    expect_contains(message, "/a: ");
  }
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(entries_in(folder.path()), 1u);
}

TEST(Files, AtomicFileAppearsAtCommit) {
  const TemporaryFolder folder;
  std::string expected;
  {
    AtomicFile file(folder / "a");
    for (int i = 0; i < 1000; ++i) {
      const std::string piece(static_cast<size_t>(i) * 7, static_cast<char>('a' + i % 26));
      file.append(piece);
      expected += piece;
    }
    const std::string large(2 << 20, 'L');
    file.append(large);
    file.append("end");
    expected += large + "end";
    EXPECT_FALSE(fs::exists(folder / "a"));
    file.commit();
    EXPECT_THROW(file.append("x"), std::logic_error);
    EXPECT_THROW(file.commit(), std::logic_error);
  }
  EXPECT_EQ(read_file(folder / "a"), expected);
}

TEST(Files, AtomicFileWithoutCommitLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  { AtomicFile(folder / "a").append("new"); }
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(entries_in(folder.path()), 1u);
}

TEST(Files, AtomicFileHasTheModeOfTheUmask) {
  const TemporaryFolder folder;
  const mode_t old = ::umask(027);
  write_file(folder / "a", "x");
  ::umask(old);
  struct stat status {};
  ASSERT_EQ(::stat((folder / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(Files, WriteFolderReplacesTheWholeFolder) {
  const TemporaryFolder folder;
  const fs::path path = folder / "deep/checkpoint";
  write_folder(path, [](const fs::path& target) { write_file(target / "old", "1"); });
  fs::create_directories(folder / "deep/checkpoint.partial");  // of a killed run
  write_file(folder / "deep/checkpoint.partial/stale", "x");
  write_folder(path / "", [](const fs::path& target) {
    fs::create_directories(target / "sub");
    std::ofstream(target / "sub/new") << "2";
  });
  EXPECT_FALSE(fs::exists(path / "old"));
  EXPECT_FALSE(fs::exists(path / "stale"));
  EXPECT_EQ(read_file(path / "sub/new"), "2");
  EXPECT_EQ(entries_in(folder / "deep"), 1u);
}

TEST(Files, WriteFolderLeavesNothingOfAFailedFill) {
  const TemporaryFolder folder;
  write_folder(folder / "run", [](const fs::path& target) { write_file(target / "old", "1"); });
  EXPECT_THROW(write_folder(folder / "run",
                            [](const fs::path& target) {
                              write_file(target / "half", "2");
                              throw DataError("stop");
                            }),
               DataError);
  EXPECT_EQ(read_file(folder / "run/old"), "1");
  EXPECT_EQ(entries_in(folder.path()), 1u);
  EXPECT_EQ(entries_in(folder / "run"), 1u);
}

TEST(Files, WriteFolderThrowsWhereAFileStands) {
  const TemporaryFolder folder;
  write_file(folder / "run", "a file");
  const auto nothing = [](const fs::path&) {};
  expect_contains(message_of<IoError>([&] { write_folder(folder / "run", nothing); }), "Not a directory");
  expect_contains(message_of<IoError>([&] { write_folder(folder / "run/sub", nothing); }), "cannot write the folder");
  EXPECT_EQ(read_file(folder / "run"), "a file");
}

TEST(Files, MappedFileShowsTheContent) {
  const TemporaryFolder folder;
  write_file(folder / "a", "mapped");
  const MappedFile file(folder / "a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.data()), file.size()), "mapped");
  write_file(folder / "empty", "");
  const MappedFile empty(folder / "empty");
  EXPECT_EQ(empty.size(), 0u);
  EXPECT_EQ(empty.data(), nullptr);
  expect_contains(message_of<IoError>([&] { MappedFile missing(folder / "none"); }), "No such file");
  expect_contains(message_of<IoError>([&] { MappedFile directory(folder.path()); }), "Is a directory");
}

TEST(Files, LineWriterAppendsOrStartsAnew) {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  LineWriter(path).line("1");
  LineWriter(path).line("2");
  EXPECT_EQ(read_file(path), "1\n2\n");
  write_file(path, "1\n{\"hal");
  LineWriter(path).line("2");
  EXPECT_EQ(read_file(path), "1\n{\"hal\n2\n");
  LineWriter(path, false).line("3");
  EXPECT_EQ(read_file(path), "3\n");
}

TEST(Files, LineWriterThrowsWhenTheDiskIsFullOrTheFolderMissing) {
  const TemporaryFolder folder;
  expect_contains(message_of<IoError>([&] { LineWriter writer(folder / "x/y"); }), "cannot open the file");
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  LineWriter full("/dev/full");
  expect_contains(message_of<IoError>([&] { full.line("x"); }), "/dev/full: cannot write the file: No space left");
}

TEST(Files, FolderBytesCountsAllFiles) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "a/b");
  write_file(folder / "x", "123");
  write_file(folder / "a/b/y", "45");
  EXPECT_EQ(folder_bytes(folder.path()), 5);
  EXPECT_EQ(folder_bytes(folder / "x"), 3);
  expect_contains(message_of<IoError>([&] { folder_bytes(folder / "none"); }), "cannot read the folder");
}

TEST(Files, ContentHashFollowsNamesAndContents) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "one");
  fs::create_directories(folder / "two");
  for (const char* name : {"one", "two"}) {
    write_file(folder / name / "a", "1");
    write_file(folder / name / "b", "2");
  }
  const std::string hash = content_hash(folder / "one");
  EXPECT_EQ(content_hash(folder / "two"), hash);
  EXPECT_EQ(content_hash(folder / "one" / ""), hash);
  write_file(folder / "two/b", "3");
  EXPECT_NE(content_hash(folder / "two"), hash);
  write_file(folder / "two/b", "2");
  fs::rename(folder / "two/b", folder / "two/c");
  EXPECT_NE(content_hash(folder / "two"), hash);
  EXPECT_NE(content_hash(folder / "one/a"), content_hash(folder / "one/b"));
  EXPECT_EQ(content_hash(folder / "one/a"), hex64(stable_hash("1", 0)));
  expect_contains(message_of<IoError>([&] { content_hash(folder / "none"); }), "No such file");
}

TEST(Files, ContentHashSeesEachPieceOfALargeFile) {
  const TemporaryFolder folder;
  std::string content(20 << 20, 'x');
  write_file(folder / "a", content);
  const std::string hash = content_hash(folder / "a");
  for (const size_t at : {size_t{0}, size_t{9} << 20, content.size() - 1}) {
    content[at] ^= 1;
    write_file(folder / "a", content);
    EXPECT_NE(content_hash(folder / "a"), hash) << at;
    content[at] ^= 1;
  }
}

TEST(Files, ContentHashIsFastSlow) {
  const TemporaryFolder folder;
  write_file(folder / "a", std::string(size_t{270} << 20, 'x'));
  content_hash(folder / "a");
  const auto start = std::chrono::steady_clock::now();
  content_hash(folder / "a");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("seconds", format_fixed(seconds, 3));
  EXPECT_LT(seconds, 0.5);
}

}  // namespace
}  // namespace rqat::base
