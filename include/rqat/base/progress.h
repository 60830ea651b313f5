// Progress of a long step: a bar that redraws on a terminal, plain lines now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace rqat::base {

class Progress {
 public:
  /// `total` steps (0 = unknown) of the work called `title`.
  Progress(std::string title, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Moves to `done` steps; `status` is free text beside the bar ("loss 1.23  850 tok/s  2.1 GiB"). ETA is computed
  /// here.
  void update(int64_t done, const std::string& status = "");
  /// Ends the bar with a closing line.
  void finish(const std::string& status = "");

  /// Off by `--quiet` and in tests.
  static void set_enabled(bool enabled);

 private:
  void draw(bool last);
  std::string title_, status_;
  int64_t total_, done_ = 0;
  int64_t first_done_ = -1;  ///< of the first update: a resumed run does not start at 0
  bool terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_, first_;
};

/// Resident memory of this process in bytes, now and at its peak (/proc/self/status).
int64_t resident_bytes();
int64_t peak_resident_bytes();

}  // namespace rqat::base
