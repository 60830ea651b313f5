#include "rqat/base/scratch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/folders.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

namespace fs = std::filesystem;

/// The folder for temporary files, for the time of a test.
struct TemporaryPlace {
  TemporaryPlace() { set(folder.path()); }
  ~TemporaryPlace() { before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before.c_str(), 1); }
  static void set(const fs::path& path) { ::setenv("TMPDIR", path.c_str(), 1); }
  std::string before = std::getenv("TMPDIR") == nullptr ? "" : std::getenv("TMPDIR");
  TemporaryFolder folder;
};

/// The number of a process that has ended.
pid_t dead_process() {
  const pid_t process = ::fork();
  if (process == 0) ::_exit(0);
  ::waitpid(process, nullptr, 0);
  return process;
}

void fill(const fs::path& folder) {
  make_folders(folder / "a/b");
  for (int i = 0; i < 200; ++i) write_file(folder / cat("a/b/file", i), "text");
  fs::create_directory_symlink("/", folder / "a/root");
}

TEST(Scratch, AFolderOfItsOwnThatGoesWithTheObject) {
  const TemporaryPlace place;
  fs::path kept;
  {
    const ScratchFolder one, two("import");
    kept = one.path();
    EXPECT_TRUE(fs::is_empty(one.path()));
    EXPECT_TRUE(starts_with(two.path().filename().string(), cat("rqat_import_", ::getpid(), "_")));
    EXPECT_NE(one.path(), two.path());
    fill(one.path());
  }
  EXPECT_TRUE(fs::is_empty(place.folder.path()));
  EXPECT_TRUE(fs::exists("/tmp") || fs::exists("/usr"));  // links are not followed
}

TEST(Scratch, WithoutAFolderForTemporaryFiles) {
  const TemporaryPlace place;
  TemporaryPlace::set(place.folder / "missing");
  expect_contains(message_of<IoError>([] { const ScratchFolder folder; }), "TMPDIR=");
  ::chmod(place.folder.path().c_str(), 0500);
  TemporaryPlace::set(place.folder.path());
  if (::getuid() != 0)
    expect_contains(message_of<IoError>([] { const ScratchFolder folder; }), "cannot make the folder");
  ::chmod(place.folder.path().c_str(), 0700);
}

TEST(ScratchDeathTest, SignalsRemoveWhatIsUnfinished) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const TemporaryPlace place;
    EXPECT_EXIT(
        {
          remove_unfinished_at_signals();
          const ScratchFolder scratch;
          fill(scratch.path());
          AtomicFile file(place.folder / "file");
          write_folder(place.folder / "out", [&](const fs::path& folder) {
            fill(folder);
            ::raise(signal);
          });
        },
        testing::KilledBySignal(signal), "");
    EXPECT_TRUE(fs::is_empty(place.folder.path())) << signal;
  }
}

TEST(ScratchDeathTest, WhatIsFinishedStays) {
  const TemporaryPlace place;
  EXPECT_EXIT(
      {
        remove_unfinished_at_signals();
        write_file(place.folder / "file", "text");
        write_folder(place.folder / "out", fill);
        ::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
  EXPECT_EQ(read_file(place.folder / "file"), "text");
  EXPECT_EQ(read_file(place.folder / "out/a/b/file199"), "text");
}

TEST(ScratchDeathTest, IgnoredSignalsStayIgnored) {
  EXPECT_EXIT(
      {
        ::signal(SIGHUP, SIG_IGN);
        remove_unfinished_at_signals();
        ::raise(SIGHUP);
        ::_exit(7);
      },
      testing::ExitedWithCode(7), "");
}

TEST(Scratch, WhatKilledProgramsLeftIsSweptAndNothingElse) {
  const TemporaryPlace place;
  const std::string dead = cat(dead_process());
  const auto make = [&](const std::string& name) { fill(place.folder / name); };
  for (const char* name : {"scratch", "import", "import_config", "export_config", "probe"})
    make(cat("rqat_", name, "_", dead, "_0"));
  const std::vector<std::string> kept{cat("rqat_results_", dead, "_0"), cat("rqat_scratch_", dead),
                                      cat("rqat_scratch_", dead, "_0_old"), cat("rqat_scratch_", ::getppid(), "_0"),
                                      "rqat_scratch_0_0"};
  for (const std::string& name : kept) make(name);
  write_file(place.folder / cat("rqat_import_", dead, "_1"), "a file");
  fs::create_directory_symlink(place.folder / kept[0], place.folder / cat("rqat_import_", dead, "_2"));
  remove_dead_scratch(place.folder.path());
  for (const std::string& name : kept) EXPECT_TRUE(fs::exists(place.folder / name / "a/b/file0")) << name;
  EXPECT_EQ(std::distance(fs::directory_iterator(place.folder.path()), fs::directory_iterator()), 7);
  remove_dead_scratch(place.folder / "missing");
}

// Another container sees the same folder but not our process: the lock tells that it is in use.
TEST(Scratch, AFolderInUseStaysWhateverItsName) {
  const TemporaryPlace place;
  const ScratchFolder used;
  const fs::path renamed = place.folder / cat("rqat_scratch_", dead_process(), "_0");
  fs::rename(used.path(), renamed);
  remove_dead_scratch(place.folder.path());
  EXPECT_TRUE(fs::exists(renamed));
}

}  // namespace
}  // namespace rqat::base
