#include "rqat/dist/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "dist/ranks.h"
#include "rqat/base/error.h"
#include "rqat/dist/world.h"

namespace rqat::dist {
namespace {

using testing::HasSubstr;

std::string fault_of(const LaunchOptions& options) {
  try {
    launch(options);
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

class LauncherTest : public testing::Test {
 protected:
  LauncherTest() : folder_(std::filesystem::temp_directory_path() / ("rqat_launch_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(folder_);
    options_.version = "1.0";
    options_.connect_timeout_seconds = 10;
    options_.log_dir = folder_;
  }
  ~LauncherTest() override { std::filesystem::remove_all(folder_); }
  void shell(const std::string& script) { options_.command = {"sh", "-c", script}; }
  std::string log(int rank) const {
    std::stringstream text;
    text << std::ifstream(folder_ / ("rank-" + std::to_string(rank) + ".log")).rdbuf();
    return text.str();
  }
  std::filesystem::path folder_;
  LaunchOptions options_;
};

TEST(Endpoint, HostAndPort) {
  EXPECT_EQ(read_endpoint("node-0:1234").host, "node-0");
  EXPECT_EQ(read_endpoint("node-0:1234").port, 1234);
  EXPECT_EQ(read_endpoint("node-0").port, 29500);
  for (const char* wrong : {":1", "host:", "host:0", "host:65536", "host:1x"})
    EXPECT_THROW(read_endpoint(wrong), base::ConfigError) << wrong;
}

TEST_F(LauncherTest, MultiProcessEveryRankHasItsEnvironmentAndLog) {
  options_.nproc_per_node = 3;
  shell("echo $RANK of $WORLD_SIZE, local $LOCAL_RANK of $LOCAL_WORLD_SIZE");
  testing::internal::CaptureStdout();
  launch(options_);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(log(1), "1 of 3, local 1 of 3\n");
  EXPECT_EQ(log(2), "2 of 3, local 2 of 3\n");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "rank-0.log"));
}

TEST_F(LauncherTest, MultiProcessARankThatFailsEndsTheOthers) {
  options_.nproc_per_node = 3;
  shell("if [ $RANK = 2 ]; then echo all is lost; exit 7; fi; sleep 100");
  const auto start = std::chrono::steady_clock::now();
  const std::string fault = fault_of(options_);
  EXPECT_THAT(fault, HasSubstr("rank 2 of 3 on " + host_name() + ": ended with exit code 7"));
  EXPECT_THAT(fault, HasSubstr("all is lost"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(25));
}

TEST_F(LauncherTest, MultiProcessTheProgramMustExist) {
  options_.command = {"/nowhere/rqat"};
  EXPECT_THAT(fault_of(options_), HasSubstr("cannot start rank 0 ('/nowhere/rqat'): No such file"));
}

TEST_F(LauncherTest, MultiProcessNodesMustFitTogether) {
  const auto other = options_;
  for (const auto& [words, change] : std::vector<std::pair<std::string, std::function<void(LaunchOptions&)>>>{
           {"version mismatch", [](LaunchOptions& o) { o.version = "0.9"; }},
           {"wrong number of nodes", [](LaunchOptions& o) { o.nnodes = 3; }},
           {"node rank 0 is taken", [](LaunchOptions& o) { o.node_rank = 0; }}}) {
    LaunchOptions first = other, second = other;
    first.command = second.command = {"true"};
    first.nnodes = second.nnodes = 2;
    first.rendezvous_endpoint = second.rendezvous_endpoint = "127.0.0.1:" + std::to_string(test::free_port());
    first.connect_timeout_seconds = second.connect_timeout_seconds = 2;
    second.node_rank = 1;
    change(second);
    std::string fault;
    std::thread node([&] { fault_of(first); });
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    fault = fault_of(second);
    node.join();
    // The node rank that is taken serves the store already: its port is what the second one meets first.
    EXPECT_THAT(fault, second.node_rank == 0 ? HasSubstr("is in use") : HasSubstr(words));
  }
}

}  // namespace
}  // namespace rqat::dist
