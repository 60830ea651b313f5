// Starts the ranks of a job on this host and ends them together: `rqat launch`, after torchrun's static rendezvous.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace rqat::dist {

struct LaunchOptions {
  std::vector<std::string> command;  ///< program and arguments of every rank
  std::string version;               ///< must be equal on all nodes
  int nproc_per_node = 1, nnodes = 1, node_rank = 0;
  std::string rendezvous_endpoint;  ///< "host:port" of node rank 0; "" = this host alone, any free port
  std::filesystem::path log_dir;    ///< rank-N.log of every rank but the first of node 0, which has the terminal
  double connect_timeout_seconds = 300;
};

/// Runs the ranks of this node with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and,
/// unless set, OMP_NUM_THREADS; node rank 0 serves the store. Returns when all ranks have ended well. A rank that fails
/// ends all others on all nodes. SIGINT and SIGTERM are passed on once, so that the ranks can save. Throws ConfigError
/// (node rank or endpoint wrong, versions differ), IoError (port in use, nodes missing, a rank failed: with its number,
/// host and cause) and base::Interrupted.
void launch(const LaunchOptions& options);

/// "host:port" or "host" (port 29500). Throws ConfigError.
struct Endpoint {
  std::string host;
  int port = 29500;
};
Endpoint read_endpoint(const std::string& text);

}  // namespace rqat::dist
