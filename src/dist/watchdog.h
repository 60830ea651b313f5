// Heartbeats of the ranks: a rank that dies, hangs or reports a fault ends the whole job within half a minute.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "store.h"

namespace rqat::dist {

struct WatchdogOptions {
  int rank = 0, size = 1;
  std::vector<std::string> hosts;  ///< by rank
  std::string store_place;         ///< "address:port", for messages
  double heartbeat_timeout_seconds = 20;
  double collective_timeout_seconds = 1800;
  double stall_timeout_seconds = 20;
};

/// Where this rank is, written by the thread that computes and read by the watchdog.
class Progress {
 public:
  void enter(const std::string& place);
  void leave();
  struct View {
    int64_t sequence = 0;  ///< collectives entered so far
    bool waiting = false;  ///< inside the last of them
    double seconds = 0;    ///< since entering or leaving
    std::string place;     ///< name of the last collective
  };
  View view() const;

 private:
  mutable std::mutex mutex_;
  int64_t sequence_ = 0;
  bool waiting_ = false;
  std::chrono::steady_clock::time_point changed_ = std::chrono::steady_clock::now();
  std::string place_ = "start";
};

/// What a rank tells of itself every second.
struct Beat {
  int64_t count = 0, sequence = 0;
  bool waiting = false;
  double seconds = 0;       ///< in the present state
  double idle_seconds = 0;  ///< since the process last used the processor
  std::string place;
  double pause_seconds = 0;  ///< since the last base::pulse(), in a section that promises them
  double longest_pause = 0;  ///< of those that ended
};
std::string beat_text(const Beat& beat);
Beat read_beat(const std::string& text);

struct StallLimits {
  double collective = 1800, idle = 20, stall = 20;  ///< seconds
};

/// The fault that the beats of all ranks show, or "": a rank that waits longer than the limit while others have not
/// come (those are named), one that neither computes nor waits while others wait for it, or one that computes without
/// getting on, for longer than the limit and several times its longest pause so far.
std::string stall_text(const std::vector<Beat>& beats, const std::vector<std::string>& hosts,
                       const StallLimits& limits);

class Watchdog {
 public:
  Watchdog(StorePtr store, WatchdogOptions options, const Progress& progress);
  ~Watchdog();
  /// After it a fault no longer ends this process.
  void stop();
  /// First fault of the job known here, or "".
  std::string fault() const;

 private:
  void beat_loop();
  void guard_loop();
  std::string look(int64_t count);
  std::string silent_rank();
  double idle_seconds();
  void look_at_pulse(bool waiting, Beat& beat);
  bool pause(double seconds);
  void end_process(const std::string& fault);

  StorePtr store_;
  WatchdogOptions options_;
  const Progress& progress_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::string fault_;
  std::atomic<int64_t> rounds_{0};
  std::vector<std::string> last_beats_;
  std::vector<std::chrono::steady_clock::time_point> beat_times_;
  double processor_seconds_ = 0;
  int64_t major_faults_ = 0;
  std::chrono::steady_clock::time_point busy_ = std::chrono::steady_clock::now();
  int64_t pulses_ = 0;
  double longest_pause_ = 0;
  std::chrono::steady_clock::time_point pulsed_ = std::chrono::steady_clock::now();
  std::thread beats_, guard_;
};

}  // namespace rqat::dist
