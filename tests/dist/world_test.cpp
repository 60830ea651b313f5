#include "rqat/dist/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "rqat/base/error.h"

namespace rqat::dist {
namespace {

class WorldTest : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void set(const std::map<std::string, std::string>& values) {
    for (const auto& [key, value] : values) ::setenv(key.c_str(), value.c_str(), 1);
  }
  static std::string fault() {
    try {
      world_from_environment();
    } catch (const base::ConfigError& error) {
      return error.what();
    }
    return "";
  }

 private:
  static void clear() {
    for (const char* name : {"RANK",
                             "WORLD_SIZE",
                             "LOCAL_RANK",
                             "LOCAL_WORLD_SIZE",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "PMI_RANK",
                             "PMI_SIZE",
                             "MPI_LOCALRANKID",
                             "MPI_LOCALNRANKS",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_LOCALID",
                             "SLURM_STEP_ID",
                             "SLURM_NTASKS_PER_NODE",
                             "SLURM_STEP_NODELIST",
                             "SLURM_NODELIST",
                             "SLURM_JOB_ID",
                             "TORCHELASTIC_USE_AGENT_STORE",
                             "TORCHELASTIC_RESTART_COUNT"})
      ::unsetenv(name);
  }
};

TEST_F(WorldTest, WithoutVariablesOneProcess) {
  const World world = world_from_environment();
  EXPECT_EQ(world.rank, 0);
  EXPECT_EQ(world.size, 1);
}

TEST_F(WorldTest, ReadsTorchrunsVariables) {
  set({{"RANK", "5"},
       {"WORLD_SIZE", "8"},
       {"LOCAL_RANK", "1"},
       {"LOCAL_WORLD_SIZE", "4"},
       {"MASTER_ADDR", "node-a"},
       {"MASTER_PORT", "1234"},
       {"TORCHELASTIC_USE_AGENT_STORE", "True"},
       {"TORCHELASTIC_RESTART_COUNT", "2"}});
  const World world = world_from_environment();
  EXPECT_EQ(world.rank, 5);
  EXPECT_EQ(world.size, 8);
  EXPECT_EQ(world.local_rank, 1);
  EXPECT_EQ(world.local_size, 4);
  EXPECT_EQ(world.master_address, "node-a");
  EXPECT_EQ(world.master_port, 1234);
  EXPECT_TRUE(world.agent_hosts_store);
  EXPECT_EQ(world.attempt, 2);
}

TEST_F(WorldTest, ReadsOpenMpi) {
  set({{"OMPI_COMM_WORLD_RANK", "1"},
       {"OMPI_COMM_WORLD_SIZE", "2"},
       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  const World world = world_from_environment();
  EXPECT_EQ(world.rank, 1);
  EXPECT_EQ(world.master_address, "127.0.0.1");
}

TEST_F(WorldTest, ReadsSlurmInsideSrunOnly) {
  set({{"SLURM_PROCID", "3"},
       {"SLURM_NTASKS", "4"},
       {"SLURM_LOCALID", "1"},
       {"SLURM_JOB_ID", "77042"},
       {"SLURM_NODELIST", "node[07-08]"},
       {"SLURM_NTASKS_PER_NODE", "2"}});
  EXPECT_EQ(world_from_environment().size, 1);
  set({{"SLURM_STEP_ID", "0"}});
  const World world = world_from_environment();
  EXPECT_EQ(world.rank, 3);
  EXPECT_EQ(world.size, 4);
  EXPECT_EQ(world.master_address, "node07");
  EXPECT_EQ(world.master_port, 29542);
}

TEST_F(WorldTest, FirstHostOfSlurmLists) {
  EXPECT_EQ(first_slurm_host("node[07-09,12],gpu3"), "node07");
  EXPECT_EQ(first_slurm_host("gpu3,node[07-09]"), "gpu3");
  EXPECT_EQ(first_slurm_host("alone"), "alone");
  EXPECT_EQ(first_slurm_host("n[1,5]"), "n1");
}

TEST_F(WorldTest, NamesWhatIsWrong) {
  set({{"RANK", "1"}});
  EXPECT_THAT(fault(), testing::HasSubstr("RANK is set, but WORLD_SIZE is not"));
  set({{"WORLD_SIZE", "many"}});
  EXPECT_THAT(fault(), testing::HasSubstr("WORLD_SIZE is 'many': expected a whole number"));
  set({{"WORLD_SIZE", "1"}});
  EXPECT_THAT(fault(), testing::HasSubstr("RANK is '1': expected a whole number from 0 to 0"));
  set({{"WORLD_SIZE", "4"}, {"LOCAL_WORLD_SIZE", "2"}});
  EXPECT_THAT(fault(), testing::HasSubstr("MASTER_ADDR is not set"));
  ::unsetenv("RANK");
  EXPECT_THAT(fault(), testing::HasSubstr("WORLD_SIZE is set, but RANK is not"));
}

}  // namespace
}  // namespace rqat::dist
