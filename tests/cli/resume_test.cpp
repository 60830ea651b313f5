// The real program, killed and stopped from outside.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "cli/program.h"
#include "pipeline/micro_run.h"
#include "rqat/base/rng.h"

namespace rqat::cli {
namespace {

using pipeline::expect_contains;
using pipeline::expect_readable;
using pipeline::expect_same_results;
using pipeline::results_of;
using Clock = std::chrono::steady_clock;

class ResumeProgram : public testing::Test {
 protected:
  ResumeProgram() { pipeline::write_micro_run(folder_); }

  fs::path run() const { return folder_.path() / "run"; }
  std::string output() const { return base::read_file(folder_.path() / "out.txt"); }

  /// Starts `rqat train` and returns its process.
  pid_t start(const std::string& fault = "") const {
    const std::string program = program_path().string();
    const pid_t process = ::fork();
    if (process != 0) return process;
    if (::chdir(folder_.path().c_str()) != 0) ::_exit(99);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    if (!fault.empty()) ::setenv("RQAT_FAULT", fault.c_str(), 1);
    const int out = ::open("out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execl(program.c_str(), program.c_str(), "train", "--config", "recipe.yaml", nullptr);
    ::_exit(98);
  }
  static int status_of(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::map<std::string, std::string> uninterrupted() const {
    EXPECT_EQ(status_of(start()), 0) << output();
    auto results = results_of(run());
    fs::remove_all(run());
    return results;
  }
  pipeline::RecipeFolder folder_;
};

// RQAT_KILLS=100 kills a hundred times.
TEST_F(ResumeProgram, SlowKilledAtRandomMomentsItEndsLikeTheWhole) {
  const auto begin = Clock::now();
  const auto whole = uninterrupted();
  const auto length = std::chrono::duration<double>(Clock::now() - begin);
  const char* text = std::getenv("RQAT_KILLS");
  const int wanted = text != nullptr ? std::atoi(text) : 10;
  base::Rng rng(static_cast<uint64_t>(wanted));
  int kills = 0;
  while (kills < wanted) {
    const pid_t process = start();
    std::this_thread::sleep_for(length * rng.uniform());
    ::kill(process, SIGKILL);
    const int status = status_of(process);
    ASSERT_TRUE(status == 0 || status == -SIGKILL) << status << "\n" << output();
    expect_readable(run());
    kills += status == -SIGKILL ? 1 : 0;
    if (status != 0) continue;
    expect_same_results(results_of(run()), whole);
    fs::remove_all(run());
  }
  ASSERT_EQ(status_of(start()), 0) << output();
  expect_same_results(results_of(run()), whole);
}

// Moments that a clock hardly meets: before a file is created, between its writing, syncing and renaming.
TEST_F(ResumeProgram, SlowKilledWhereFilesAreWrittenItEndsLikeTheWhole) {
  const auto whole = uninterrupted();
  int kills = 0;
  for (int place = 1; place < 1000; place += place < 20 ? 6 : 23) {
    const int status = status_of(start("kill:" + std::to_string(place)));
    ASSERT_TRUE(status == 0 || status == -SIGKILL) << status << "\n" << output();
    expect_readable(run());
    if (status == 0) break;
    ++kills;
  }
  EXPECT_GE(kills, 5);
  ASSERT_EQ(status_of(start()), 0) << output();
  expect_same_results(results_of(run()), whole);
}

TEST_F(ResumeProgram, SlowAskedToStopItSavesAndTellsHowToGoOn) {
  const std::string long_recipe =
      base::replace_all(pipeline::kMicroRecipe, "max_steps: 3, batch_size: 2", "max_steps: 100000, batch_size: 2");
  folder_.write("recipe.yaml", base::replace_all(long_recipe, "freeze: [], save_steps: 1", "save_steps: 0"));
  for (const int signal : {SIGTERM, SIGINT}) {
    const fs::path metrics = run() / "sft/metrics.jsonl";
    const auto size = [&] { return fs::exists(metrics) ? fs::file_size(metrics) : 0; };
    const auto before = size();
    const pid_t process = start();
    for (int i = 0; i < 3000 && size() <= before; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ::kill(process, signal);
    EXPECT_EQ(status_of(process), 128 + signal);
    expect_contains(output(), "rqat: finishing this step, then saving; press Ctrl-C again to quit at once");
    expect_contains(output(), "rqat: stage sft: stopped after step ");
    expect_contains(output(), "/rqat train --config recipe.yaml\n");
    if (signal == SIGINT) expect_contains(output(), "stage sft: going on after step ");
    expect_readable(run());
  }
}

}  // namespace
}  // namespace rqat::cli
