#include "rqat/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "rqat/base/strings.h"
#include "terminal.h"

namespace rqat::base {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 10;
constexpr double kTenthSeconds = 3;  // between lines at full tenths
constexpr int kBarWidth = 20;

std::atomic<bool> progress_enabled{true};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string bar_text(int64_t done, int64_t total) {
  const int filled = static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * kBarWidth);
  return cat("[", std::string(static_cast<size_t>(filled), '#'),
             std::string(static_cast<size_t>(kBarWidth - filled), '.'), "]");
}

/// A line that wraps could not be redrawn in place.
std::string fit_to_terminal(std::string line) {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && line.size() >= size.ws_col) {
    line.resize(size.ws_col - 1u);
  }
  return line;
}

int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (starts_with(line, key)) return 1024 * std::strtoll(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

}  // namespace

Progress::Progress(std::string title, int64_t total)
    : title_(std::move(title)),
      total_(std::max<int64_t>(total, 0)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() {
  if (finished_ || !terminal_) return;
  const std::lock_guard lock(terminal_mutex());
  if (!terminal_bar_shown()) return;
  std::fputs("\n", stderr);  // left by an exception: its message starts on a line of its own
  terminal_bar_shown() = false;
}

void Progress::update(int64_t done, const std::string& status) {
  const int64_t tenth_before = total_ > 0 ? 10 * done_ / total_ : 0;
  done_ = total_ > 0 ? std::clamp<int64_t>(done, 0, total_) : std::max<int64_t>(done, 0);
  status_ = status;
  if (first_done_ < 0) {
    first_done_ = done_;
    first_ = Clock::now();
  }
  const int64_t tenth = total_ > 0 ? 10 * done_ / total_ : 0;
  const double since = seconds_between(drawn_, Clock::now());
  const bool new_tenth = tenth != tenth_before && done_ < total_;
  if (terminal_ ? since >= kRedrawSeconds : since >= (new_tenth ? kTenthSeconds : kLineSeconds)) draw(false);
}

void Progress::finish(const std::string& status) {
  if (finished_) return;
  finished_ = true;
  if (!status.empty()) status_ = status;
  draw(true);
}

void Progress::draw(bool last) {
  if (!progress_enabled) return;
  drawn_ = Clock::now();
  const double elapsed = seconds_between(start_, drawn_);
  std::string line = title_;
  if (total_ > 0) {
    line += cat(" ", terminal_ && !last ? bar_text(done_, total_) + " " : "", 100 * done_ / total_, "%  ", done_, "/",
                total_);
  } else {
    line += cat(" ", done_);
  }
  if (!status_.empty()) line += "  " + status_;
  line += "  " + format_duration(elapsed);
  if (!last && total_ > 0 && first_done_ >= 0 && done_ > first_done_) {
    const double per_step = seconds_between(first_, drawn_) / static_cast<double>(done_ - first_done_);
    line += cat(" (", format_duration(per_step * static_cast<double>(total_ - done_)), " left)");
  }
  const std::lock_guard lock(terminal_mutex());
  if (terminal_) line = cat("\r\033[K", last ? line : fit_to_terminal(line));
  if (!terminal_ || last) line += "\n";
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  terminal_bar_shown() = terminal_ && !last;
}

void Progress::set_enabled(bool enabled) { progress_enabled = enabled; }

int64_t resident_bytes() { return status_bytes("VmRSS:"); }
int64_t peak_resident_bytes() { return status_bytes("VmHWM:"); }

}  // namespace rqat::base
