// Makers of c10d's process groups; each is empty in a build without it.
#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace rqat::dist {

struct BackendOptions {
  int rank = 0, size = 1;
  std::string address;  ///< of this machine, as the others reach it
  double timeout_seconds = 1800;
};

using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

bool has_gloo();
/// What to do about a build without it.
inline constexpr const char* kNoGloo =
    "this build has no Gloo: install libgloo-dev (tools/setup does), run cmake again and rebuild; or start one process";
bool has_nccl();
BackendPtr make_gloo(const c10::intrusive_ptr<c10d::Store>& store, const BackendOptions& options);
BackendPtr make_nccl(const c10::intrusive_ptr<c10d::Store>& store, const BackendOptions& options);

}  // namespace rqat::dist
