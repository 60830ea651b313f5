#ifdef RQAT_WITH_NCCL
#define USE_C10D_NCCL
#endif
#include <stdexcept>

#include "backend.h"
#ifdef RQAT_WITH_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace rqat::dist {

#ifdef RQAT_WITH_NCCL

bool has_nccl() { return true; }

BackendPtr make_nccl(const c10::intrusive_ptr<c10d::Store>& store, const BackendOptions& options) {
  using Group = c10d::ProcessGroupNCCL;
  auto settings = Group::Options::create();
  settings->timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout_seconds * 1000));
  return c10::make_intrusive<Group>(store, options.rank, options.size, settings);
}

#else

bool has_nccl() { return false; }

BackendPtr make_nccl(const c10::intrusive_ptr<c10d::Store>&, const BackendOptions&) {
  throw std::logic_error("make_nccl: this build has no NCCL");
}

#endif

}  // namespace rqat::dist
