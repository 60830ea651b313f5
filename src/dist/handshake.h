// The ranks' first words: who they are, and whether they fit together.
#pragma once

#include <string>
#include <vector>

#include "rqat/dist/communicator.h"
#include "store.h"

namespace rqat::dist {

struct Hello {
  std::string host, version;
  int pid = 0, size = 0;
};

/// Tells the others of this rank, waits for all of them, and returns their hellos by rank. Throws ConfigError (a rank
/// number taken twice, other version, other world size) and IoError (ranks that did not come in time), naming them.
std::vector<Hello> shake_hands(c10d::Store& store, const World& world, const ConnectOptions& options);

}  // namespace rqat::dist
