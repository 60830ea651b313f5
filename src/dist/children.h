// The processes of one node: started together, watched, ended together.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rqat::dist {

struct ChildPlan {
  int rank = 0;
  std::map<std::string, std::string> environment;  ///< beside the launcher's own
  std::filesystem::path log;                       ///< of stdout and stderr; empty = the terminal
};

struct ChildEnd {
  int rank = 0;
  int status = 0;  ///< as waitpid gives it
  bool failed() const { return status != 0; }
  /// "exit code 1", "signal 9 (Killed), often the system's answer to too little memory"
  std::string text() const;
  int exit_code() const;  ///< 128 + signal when killed
};

class Children {
 public:
  /// Starts one process per plan, each in its own process group; they are told to stop when the launcher dies. Throws
  /// IoError (program not found, too many processes).
  Children(const std::vector<std::string>& command, const std::vector<ChildPlan>& plans);
  ~Children();  ///< kills what still runs
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  /// Those that ended since the last call.
  std::vector<ChildEnd> reap();
  bool running() const { return !pids_.empty(); }
  void signal(int number) const;
  /// Waits up to `patience` seconds for the rest to end by itself, then SIGTERM, then SIGKILL, `patience` seconds
  /// apart.
  void end_all(double patience);

 private:
  std::map<pid_t, int> pids_;  ///< to rank
};

}  // namespace rqat::dist
