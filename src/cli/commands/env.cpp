#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <fstream>
#include <iostream>

#include "rqat/base/progress.h"
#include "rqat/cli/command.h"
#include "rqat/data/stream.h"
#include "rqat/dist/communicator.h"
#include "rqat/ops/cpu.h"
#include "support.h"

namespace rqat::cli {

namespace {

using base::cat;

/// The value behind `key` in a file of "key: value" lines, like those in /proc.
std::string proc_value(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (base::starts_with(line, key)) return base::trim(line.substr(line.find(':') + 1));
  }
  return "unknown";
}

std::string kibibytes_text(const std::string& value) {
  const int64_t kibibytes = std::atoll(value.c_str());
  return kibibytes > 0 ? base::format_bytes(kibibytes * 1024) : value;
}

std::string cuda_text() {
  if (!at::hasCUDA()) return "no (this build or machine has none; everything runs on the CPU)";
  return cat(at::detail::getCUDAHooks().deviceCount(), " device(s)");
}

class Env : public Command {
 public:
  Usage usage() const override {
    return {"Shows what rqat sees of this machine. Worth pasting into a report of a problem.", {"rqat env"}, {}};
  }

  void run() override {
    std::cout << table_text({{"version", version_text()},
                             {"compiler", __VERSION__},
                             {"CPU", proc_value("/proc/cpuinfo", "model name")},
                             {"CPU kernels", ops::cpu_kernels_text()},
                             {"LibTorch CPU level", at::get_cpu_capability()},
                             {"threads", cat(at::get_num_threads(), " of ", usable_cores(), " usable cores")},
                             {"memory", kibibytes_text(proc_value("/proc/meminfo", "MemTotal"))},
                             {"memory free", kibibytes_text(proc_value("/proc/meminfo", "MemAvailable"))},
                             {"CUDA", cuda_text()},
                             {"ranks", dist::backends_text()},
                             {"Parquet", data::parquet_text()},
                             {"device: auto", pipeline::pick_device("auto").str()}});
  }
};

}  // namespace

base::Entry<Command> env_entry() {
  return base::make_entry<base::Entry<Command>, base::NoConfig>(
      "env", "show version, CPU kernels, threads, memory, CUDA devices", "",
      [](const base::NoConfig&) { return std::make_unique<Env>(); });
}

}  // namespace rqat::cli
