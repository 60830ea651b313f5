#ifdef RQAT_WITH_GLOO
#define USE_C10D_GLOO
#endif
#include <cstdlib>
#include <stdexcept>

#include "backend.h"
#ifdef RQAT_WITH_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace rqat::dist {

#ifdef RQAT_WITH_GLOO

bool has_gloo() { return true; }

BackendPtr make_gloo(const c10::intrusive_ptr<c10d::Store>& store, const BackendOptions& options) {
  using Group = c10d::ProcessGroupGloo;
  auto settings =
      Group::Options::create(std::chrono::milliseconds(static_cast<int64_t>(options.timeout_seconds * 1000)));
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  settings->devices.push_back(interface != nullptr      ? Group::createDeviceForInterface(interface)
                              : options.address.empty() ? Group::createDefaultDevice()
                                                        : Group::createDeviceForHostname(options.address));
  return c10::make_intrusive<Group>(store, options.rank, options.size, settings);
}

#else

bool has_gloo() { return false; }

BackendPtr make_gloo(const c10::intrusive_ptr<c10d::Store>&, const BackendOptions&) {
  throw std::logic_error("make_gloo: this build has no Gloo");
}

#endif

}  // namespace rqat::dist
