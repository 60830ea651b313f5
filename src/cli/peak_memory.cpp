#include "peak_memory.h"

#include <malloc.h>

#include <fstream>

#include "rqat/base/progress.h"

namespace rqat::cli {

PeakMemory::PeakMemory() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

int64_t PeakMemory::bytes() const { return base::peak_resident_bytes(); }

}  // namespace rqat::cli
