// Which process of how many this is, as told by its environment.
#pragma once

#include <string>

namespace rqat::dist {

struct World {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  ///< among the processes of this host
  std::string master_address = "127.0.0.1";
  int master_port = 29500;
  bool agent_hosts_store = false;  ///< a launcher holds the store at master_address:master_port, not rank 0
  int attempt = 0;                 ///< restarts by the launcher so far; each has its own keys in the store
  std::string source = "none";     ///< which variables said so, for messages: "RANK", "SLURM_PROCID", ...
};

/// The world named by the environment, in this order: RANK, WORLD_SIZE, LOCAL_RANK (torchrun, rqat launch, plain
/// shells); OMPI_COMM_WORLD_* (Open MPI); PMI_RANK, PMI_SIZE (MPICH, Intel MPI); SLURM_PROCID, SLURM_NTASKS,
/// SLURM_LOCALID (srun). MASTER_ADDR and MASTER_PORT hold for all of them; without MASTER_ADDR the first host of
/// SLURM's list is taken, or 127.0.0.1 when all processes are on this host. None of the variables: a world of one.
/// Throws ConfigError: a variable is missing, no number, or out of range.
World world_from_environment();

/// Name of this machine.
std::string host_name();

/// First host of a SLURM host list: "node[07-09,12],gpu3" -> "node07".
std::string first_slurm_host(const std::string& list);

}  // namespace rqat::dist
