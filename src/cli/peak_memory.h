// The most memory that a piece of work held.
#pragma once

#include <cstdint>

namespace rqat::cli {

/// Peak of this process's resident memory since the object was made, memory that was resident before included; freed
/// heap memory is given back first. Where the system does not let the peak be reset (a sandbox without
/// /proc/self/clear_refs), since the process began.
class PeakMemory {
 public:
  PeakMemory();
  int64_t bytes() const;
};

}  // namespace rqat::cli
