// The real program, stopped by Ctrl-C and its like where no orderly stop is possible: nothing half done stays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <functional>
#include <thread>

#include "cli/program.h"

namespace rqat::cli {
namespace {

void wait_for(const std::function<bool()>& there) {
  for (int i = 0; i < 3000 && !there(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(there());
}

/// Starts the program in the folder `work`, its temporary files in work/temporary.
pid_t start(const Workplace& work, std::vector<std::string> words) {
  const std::string program = program_path().string();
  words.insert(words.begin(), program);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t process = ::fork();
  if (process != 0) return process;
  if (::chdir(work.path().c_str()) != 0) ::_exit(99);
  ::setenv("TMPDIR", (work / "temporary").c_str(), 1);
  ::setenv("OMP_NUM_THREADS", "1", 1);
  const int out = ::open("out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::execv(program.c_str(), arguments.data());
  ::_exit(98);
}

bool imported(const Workplace& work) {
  for (const auto& name : work.listing()) {
    if (name.find("temporary/rqat_scratch_") == 0 && name.find("config.json") != std::string::npos) return true;
  }
  return false;
}

TEST(Signals, LeaveNoScratchFolderAndNoUnfinishedOutput) {
  const Workplace work;
  TinyModelConfig config;
  config.out = (work / "model").string();
  write_tiny_model(config);
  ASSERT_EQ(work.run("quantize --model model --out w4 --num-bits 4 --group-size 32 --symmetric").exit_code, 0);
  const Outcome exported = work.run("export --model w4 --format gptq --out packed");
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  fs::create_directories(work / "temporary");
  const auto run = [&] {
    return start(work, {"evaluate", "--model", "packed", "--generators", "chain_sums", "--num-examples", "20000",
                        "--max-new-tokens", "400", "--out", "results"});
  };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const pid_t process = run();
    wait_for([&] { return imported(work) && fs::exists(work / "results.partial"); });
    ::kill(process, signal);
    int status = 0;
    ::waitpid(process, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status << "\n" << work.read("out.txt");
    EXPECT_TRUE(fs::is_empty(work / "temporary")) << signal;
    EXPECT_FALSE(fs::exists(work / "results.partial")) << signal;
  }
  // A kill cannot be caught: the next program that makes a scratch folder removes what it left.
  const pid_t process = run();
  wait_for([&] { return imported(work); });
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
  EXPECT_FALSE(fs::is_empty(work / "temporary"));
  ASSERT_EQ(::setenv("TMPDIR", (work / "temporary").c_str(), 1), 0);
  const Outcome next = work.run_real("evaluate --model model --generators chain_sums --num-examples 1");
  ::unsetenv("TMPDIR");
  EXPECT_EQ(next.exit_code, 0) << next.output;
  EXPECT_TRUE(fs::is_empty(work / "temporary"));
}

}  // namespace
}  // namespace rqat::cli
