#include "ranks.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>

#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::cli {

void run_as_rank(at::Device device, const std::function<void(dist::Communicator& world)>& work) {
  const dist::World named = dist::world_from_environment();
  const char* const folder = std::getenv("RQAT_LOG_DIR");
  if (named.rank != 0) {
    base::Progress::set_enabled(false);
    // Only `rqat launch` gives each rank a log of its own; mpirun, srun and torchrun mix what the ranks say.
    if (folder == nullptr) base::set_log_level(base::LogLevel::kWarning);
  } else if (folder != nullptr) {
    base::add_log_file(std::filesystem::path(folder) / "rank-0.log");
  }
  if (device.is_cuda() && named.size > 1) {
    c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA)
        .setDevice(at::Device(at::kCUDA, static_cast<at::DeviceIndex>(named.local_rank)));
  }
  dist::ConnectOptions options;
  options.version = version_text();
  options.device = device;
  const std::unique_ptr<dist::Communicator> world = dist::connect(named, options);
  if (!world->alone()) base::log_debug(base::cat("connected: ", world->who()));
  try {
    work(*world);
  } catch (const base::Interrupted&) {
    world->finish();  // all stop after the same step
    throw;
  } catch (const std::exception& error) {
    world->report_fault(error.what());
    throw;
  }
  world->finish();
}

}  // namespace rqat::cli
