#include "rqat/dist/world.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::dist {

namespace {

using base::cat;

std::optional<std::string> variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

int number(const std::string& name, int low, int high) {
  const std::string text = variable(name).value_or("");
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw base::ConfigError(cat("environment variable ", name, " is '", text, "': expected a whole number from ", low,
                                " to ", high, "; start the ranks with `rqat launch`, torchrun, srun or mpirun"));
  }
  return value;
}

int number_or(const std::string& name, int missing, int low, int high) {
  return variable(name) ? number(name, low, high) : missing;
}

/// The variables by which one kind of starter numbers its processes.
struct Names {
  const char *rank, *size, *local_rank, *local_size;
};

constexpr Names kKnown[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"},
};

/// Inside an allocation, outside srun, SLURM's variables describe the job and not this process.
bool speaks(const Names& names) {
  if (!variable(names.rank)) return false;
  return std::strcmp(names.rank, "SLURM_PROCID") != 0 || variable("SLURM_STEP_ID").has_value();
}

World read(const Names& names) {
  constexpr int kMost = 1 << 20;
  if (!variable(names.size)) {
    throw base::ConfigError(cat("environment variable ", names.rank, " is set, but ", names.size,
                                " is not; set both, or neither for a run of one process"));
  }
  World world;
  world.source = names.rank;
  world.size = number(names.size, 1, kMost);
  world.rank = number(names.rank, 0, world.size - 1);
  world.local_size = number_or(names.local_size, world.size, 1, kMost);
  world.local_rank = number_or(names.local_rank, world.rank % world.local_size, 0, kMost);
  return world;
}

std::string master_address(const World& world) {
  if (const auto given = variable("MASTER_ADDR")) return *given;
  if (world.source == "SLURM_PROCID") {
    for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_NODELIST"}) {
      if (const auto list = variable(name)) return first_slurm_host(*list);
    }
  }
  if (world.local_size == world.size) return "127.0.0.1";
  throw base::ConfigError(cat("MASTER_ADDR is not set, and ranks are on several hosts (", world.local_size, " of ",
                              world.size, " here); set it to the address of rank 0's host"));
}

}  // namespace

World world_from_environment() {
  for (const Names& names : kKnown) {
    if (!speaks(names)) continue;
    World world = read(names);
    if (world.size == 1) return world;
    world.master_address = master_address(world);
    // Jobs of one SLURM cluster may share a host.
    const int spread = world.source == "SLURM_PROCID" ? number_or("SLURM_JOB_ID", 0, 0, 2147483647) % 1000 : 0;
    world.master_port = number_or("MASTER_PORT", 29500 + spread, 1, 65535);
    world.agent_hosts_store = variable("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
    world.attempt = number_or("TORCHELASTIC_RESTART_COUNT", 0, 0, 1 << 20);
    return world;
  }
  if (variable("WORLD_SIZE") && number("WORLD_SIZE", 1, 1 << 20) > 1) {
    throw base::ConfigError(
        "environment variable WORLD_SIZE is set, but RANK is not; set both, or neither for a run of "
        "one process");
  }
  return {};
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

std::string first_slurm_host(const std::string& list) {
  const size_t open = list.find('[');
  const size_t comma = list.find(',');
  if (open == std::string::npos || (comma != std::string::npos && comma < open)) return list.substr(0, comma);
  const std::string range = list.substr(open + 1);
  return list.substr(0, open) + range.substr(0, range.find_first_of("-,]"));
}

}  // namespace rqat::dist
