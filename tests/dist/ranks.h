// Runs a function in several processes, each a rank. The children are made by exec of the test program itself, because
// LibTorch's threads do not survive a fork.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace rqat::test {

/// How a child ended and what it wrote to stdout and stderr.
struct Ended {
  int code = -1;  ///< exit code, or -signal
  std::string output;
  double seconds = 0;
};

/// A process of this test program that runs one (disabled) test with some environment.
class Child {
 public:
  Child(const std::string& test, const std::map<std::string, std::string>& environment) {
    static int number = 0;
    file_ = std::filesystem::temp_directory_path() /
            ("rqat_rank_" + std::to_string(::getpid()) + "_" + std::to_string(number++) + ".txt");
    start_ = std::chrono::steady_clock::now();
    pid_ = ::fork();
    if (pid_ != 0) return;
    for (const auto& [key, value] : environment) ::setenv(key.c_str(), value.c_str(), 1);
    if (std::freopen(file_.c_str(), "w", stdout) == nullptr) ::_exit(99);
    ::dup2(1, 2);
    const std::string filter = "--gtest_filter=" + test;
    ::execl("/proc/self/exe", "rank", filter.c_str(), "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    ::_exit(98);
  }
  int pid() const { return pid_; }
  /// Waits; kills the child after `limit` seconds.
  Ended wait(double limit = 60) {
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (seconds() > limit) ::kill(pid_, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    Ended ended{WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), {}, seconds()};
    std::stringstream text;
    text << std::ifstream(file_).rdbuf();
    ended.output = text.str();
    std::filesystem::remove(file_);
    return ended;
  }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  int pid_ = -1;
  std::filesystem::path file_;
  std::chrono::steady_clock::time_point start_;
};

/// A port that was free a moment ago.
inline int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof(address);
  ::bind(socket, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(socket);
  return ntohs(address.sin_port);
}

inline std::map<std::string, std::string> rank_environment(int rank, int size, int port) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)},
          {"LOCAL_RANK", std::to_string(rank)},
          {"LOCAL_WORLD_SIZE", std::to_string(size)},
          {"MASTER_ADDR", "127.0.0.1"},
          {"MASTER_PORT", std::to_string(port)},
          {"OMP_NUM_THREADS", "1"}};
}

/// Runs the test `name` as `size` ranks and returns how each ended.
inline std::vector<Ended> run_ranks(const std::string& name, int size,
                                    const std::map<std::string, std::string>& more = {}) {
  const int port = free_port();
  std::vector<Child> children;
  for (int rank = 0; rank < size; ++rank) {
    std::map<std::string, std::string> environment = rank_environment(rank, size, port);
    for (const auto& [key, value] : more) environment[key] = value;
    children.emplace_back(name, environment);
  }
  std::vector<Ended> ends;
  for (Child& child : children) ends.push_back(child.wait());
  return ends;
}

/// True in a process started by `Child`.
inline bool is_rank() { return std::getenv("RANK") != nullptr; }

}  // namespace rqat::test
