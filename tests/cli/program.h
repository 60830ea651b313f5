// Runs the rqat program as a user does, and small models to run it on.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/tiny_model.h"
#include "rqat/cli/program.h"

namespace rqat::cli {

namespace fs = std::filesystem;

/// The program that was built beside this test, or RQAT_BIN.
inline fs::path program_path() {
  if (const char* path = std::getenv("RQAT_BIN")) return path;
  return fs::read_symlink("/proc/self/exe").parent_path() / "rqat";
}

struct Outcome {
  int exit_code = -1;
  std::string output;  ///< stdout and stderr together
};

/// The real program, by way of a shell, in `folder`. It takes a good part of a second to start.
inline Outcome run_real_program(const fs::path& folder, const std::string& arguments) {
  const std::string command =
      "cd '" + folder.string() + "' && '" + program_path().string() + "' " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  Outcome outcome;
  std::array<char, 4096> buffer;
  for (size_t read; (read = ::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    outcome.output.append(buffer.data(), read);
  const int status = ::pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

/// Words between blanks; single quotes hold words with blanks together.
inline std::vector<std::string> shell_words(const std::string& text) {
  std::vector<std::string> words;
  bool quoted = false, open = false;
  for (const char c : text) {
    if (c == '\'') {
      quoted = !quoted;
      if (!open) words.emplace_back();
      open = true;
    } else if (c == ' ' && !quoted) {
      open = false;
    } else {
      if (!open) words.emplace_back();
      open = true;
      words.back() += c;
    }
  }
  return words;
}

/// What main() does, inside the test program.
inline Outcome run_in_process(const fs::path& folder, const std::string& arguments) {
  const fs::path home = fs::current_path();
  fs::current_path(folder);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Outcome outcome;
  try {
    outcome.exit_code = run_program(shell_words(arguments));
  } catch (const std::exception& error) {
    outcome.exit_code = explain_failure(error);
  }
  outcome.output = ::testing::internal::GetCapturedStdout();
  outcome.output += ::testing::internal::GetCapturedStderr();
  fs::current_path(home);
  return outcome;
}

/// A folder of its own for one test, removed afterwards.
class Workplace {
 public:
  Workplace() {
    static int count = 0;
    path_ = fs::temp_directory_path() / ("rqat_cli_test_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    fs::create_directories(path_);
  }
  ~Workplace() { fs::remove_all(path_); }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// Every file and folder below, to see that nothing appeared.
  std::set<std::string> listing() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(path_))
      names.insert(fs::relative(entry.path(), path_).string());
    return names;
  }
  Outcome run(const std::string& arguments) const { return run_in_process(path_, arguments); }
  Outcome run_real(const std::string& arguments) const { return run_real_program(path_, arguments); }

 private:
  fs::path path_;
};

/// A llama of one block, width 16, in `folder`.
inline void write_small_model(const fs::path& folder) {
  TinyModelConfig config;
  config.out = folder.string();
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 1;
  config.num_heads = 2;
  config.num_key_value_heads = 1;
  config.max_length = 512;
  write_tiny_model(config);
}

}  // namespace rqat::cli
