#include "rqat/base/log.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

TEST(Log, TerminalShowsOnlyTheLevelsAskedFor) {
  testing::internal::CaptureStderr();
  set_log_level(LogLevel::kWarning);
  log_info("hidden {} %s");
  log_warning("shown {} %s");
  log_error("worse");
  set_log_level(LogLevel::kDebug);
  log_debug("detail");
  set_log_level(LogLevel::kInfo);
  log_debug("hidden again");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  expect_contains(text, "warning shown {} %s\n");
  expect_contains(text, "error worse\n");
  expect_contains(text, "debug detail\n");
}

TEST(Log, FileTakesAllLevelsOnceAndAppends) {
  const TemporaryFolder folder;
  const auto path = folder / "run.log";
  write_file(path, "before\n");
  add_log_file(path);
  add_log_file(folder.path() / "." / "run.log");
  testing::internal::CaptureStderr();
  log_debug("first");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int j = 0; j < 50; ++j) log_info("from a thread");
    });
  }
  for (auto& thread : threads) thread.join();
  testing::internal::GetCapturedStderr();
  const std::vector<std::string> lines = split(read_file(path), '\n');
  ASSERT_EQ(lines.size(), 1u + 1 + 200 + 1);
  EXPECT_EQ(lines[0], "before");
  expect_contains(lines[1], " debug first");
  EXPECT_EQ(lines[1].substr(0, 2), "20") << "no time stamp";
  for (size_t i = 2; i < 202; ++i) EXPECT_TRUE(lines[i].ends_with(" info from a thread")) << lines[i];
}

TEST(Log, FileThatCannotBeOpenedThrows) {
  const std::string message = message_of<IoError>([] { add_log_file("/dev/null/run.log"); });
  expect_contains(message, "/dev/null/run.log: cannot open the log file");
}

}  // namespace
}  // namespace rqat::base
