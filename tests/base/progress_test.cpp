#include "rqat/base/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::base {
namespace {

/// What `action` writes to stderr while that is a terminal.
template <class Action>
std::string on_a_terminal(Action action) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return "";
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  if (terminal < 0) return "";
  const int old = ::dup(STDERR_FILENO);
  ::dup2(terminal, STDERR_FILENO);
  action();
  ::fflush(stderr);
  ::dup2(old, STDERR_FILENO);
  std::string text;
  char buffer[4096];
  for (ssize_t size; (size = ::read(master, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(size));
  for (const int descriptor : {old, terminal, master}) ::close(descriptor);
  return text;
}

TEST(Progress, WithoutATerminalFastWorkGivesOneLine) {
  testing::internal::CaptureStderr();
  {
    Progress progress("train", 1000);
    for (int i = 1; i <= 1000; ++i) progress.update(i, cat("loss ", i));
    progress.finish();
    progress.finish();
  }
  const std::vector<std::string> lines = split(testing::internal::GetCapturedStderr(), '\n');
  ASSERT_EQ(lines.size(), 2u);  // the end, and the empty text behind the last newline
  EXPECT_EQ(lines[0], "train 100%  1000/1000  loss 1000  0:00");
}

TEST(Progress, UnknownTotalShowsTheCount) {
  testing::internal::CaptureStderr();
  Progress progress("read", 0);
  for (int i = 1; i <= 50; ++i) progress.update(i);
  progress.finish("50 files");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "read 50  50 files  0:00\n");
}

TEST(Progress, StepsBeyondTheTotalStayAtTheTotal) {
  testing::internal::CaptureStderr();
  Progress progress("x", 4);
  progress.update(9);
  progress.finish();
  expect_contains(testing::internal::GetCapturedStderr(), "x 100%  4/4");
}

TEST(Progress, DisabledIsSilent) {
  testing::internal::CaptureStderr();
  Progress::set_enabled(false);
  Progress progress("x", 4);
  progress.update(4);
  progress.finish();
  Progress::set_enabled(true);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, BarRedrawsAtMostTenTimesASecond) {
  const std::string text = on_a_terminal([] {
    Progress progress("train", 100);
    for (int i = 1; i <= 100; ++i) {
      progress.update(i, "loss 1");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    progress.finish("done");
  });
  if (text.empty()) GTEST_SKIP() << "no pseudo terminal here";
  const size_t draws = split(text, '\r').size() - 1;
  EXPECT_GE(draws, 3u) << text;
  EXPECT_LE(draws, 12u) << text;
  expect_contains(text, "[####");
  expect_contains(text, "left)");
  expect_contains(text, "train 100%  100/100  done");
}

TEST(Progress, LogMessageAndLeftBarDoNotShareALine) {
  const std::string text = on_a_terminal([] {
    Progress progress("train", 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    progress.update(5, "status");
    log_warning("between");
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    progress.update(6, "status");
  });
  if (text.empty()) GTEST_SKIP() << "no pseudo terminal here";
  const size_t wiped = text.find("\r\033[K", text.find("status"));
  EXPECT_LT(wiped, text.find("between")) << text;
  EXPECT_EQ(text.back(), '\n') << text;
}

TEST(Progress, ResidentBytesFollowAnAllocation) {
  const int64_t before = resident_bytes();
  ASSERT_GT(before, 0);
  {
    std::vector<char> block(size_t{64} << 20, 1);
    ASSERT_EQ(block[block.size() / 2], 1);
    EXPECT_GT(resident_bytes(), before + (int64_t{60} << 20));
  }
  EXPECT_GE(peak_resident_bytes(), before + (int64_t{60} << 20));
}

}  // namespace
}  // namespace rqat::base
