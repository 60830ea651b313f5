#include "rqat/dist/launcher.h"

#include <unistd.h>

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/interrupt.h"
#include "rqat/cli/command.h"
#include "rqat/pipeline/recipe.h"
#include "support.h"

namespace rqat::cli {

namespace {

using base::cat;

struct LaunchSettings : base::Config {
  std::vector<std::string> command;
  int64_t nproc_per_node = 1, nnodes = 1, node_rank = 0, rdzv_timeout = 300;
  std::string rdzv_endpoint, log_dir;
  bool standalone = false;
  void fields(base::FieldVisitor& v) override {
    v.field("command", command, "what every rank runs, behind --: train and its options");
    v.required("command");
    v.field("nproc_per_node", nproc_per_node, "ranks on this host: GPUs, or shares of the CPU cores",
            base::Range{1, 4096});
    v.field("nnodes", nnodes, "hosts; start this command on each of them", base::Range{1, 1e6});
    v.field("node_rank", node_rank, "number of this host, from 0", base::non_negative());
    v.field("rdzv_endpoint", rdzv_endpoint, "HOST:PORT where node rank 0 is reached by the others");
    v.field("standalone", standalone, "this host alone, on any free port (the default without --rdzv-endpoint)");
    v.field("rdzv_timeout", rdzv_timeout, "seconds for all nodes to come", base::Range{1, 1e6});
    v.field("log_dir", log_dir, "folder for rank-N.log of every rank; default: logs in the run's output folder");
  }
};

class Launch : public Command {
 public:
  explicit Launch(LaunchSettings settings) : settings_(std::move(settings)) {}

  Usage usage() const override {
    return {
        "Starts the ranks of one run and ends them together: each works on its part of every batch, of the rollouts, "
        "of "
        "the calibration and of the evaluation. Rank 0 has the terminal, the others write RUN/logs/rank-N.log. When "
        "one "
        "fails, dies or hangs, all end and its number, host and cause are told. The options are torchrun's; torchrun "
        "--no-python, srun and mpirun start rqat train as well.",
        {"rqat launch --nproc-per-node 2 -- train --config recipes/quickstart.yaml",
         "rqat launch --nnodes 2 --node-rank 0 --rdzv-endpoint node-0:29500 --nproc-per-node 8 -- train --config "
         "r.yaml",
         "rqat launch --nnodes 2 --node-rank 1 --rdzv-endpoint node-0:29500 --nproc-per-node 8 -- train --config "
         "r.yaml"},
        {"command"}};
  }

  void run() override {
    if (settings_.standalone && (settings_.nnodes > 1 || !settings_.rdzv_endpoint.empty()))
      throw base::UsageError("--standalone is one host: leave out --nnodes and --rdzv-endpoint, or --standalone");
    if (settings_.command[0] != "train") {
      throw base::UsageError(cat("rqat launch runs `train`, got '", settings_.command[0],
                                 "'; write rqat launch --nproc-per-node 2 -- train --config RECIPE"));
    }
    dist::LaunchOptions options;
    options.command = {std::filesystem::read_symlink("/proc/self/exe").string()};
    options.command.insert(options.command.end(), settings_.command.begin(), settings_.command.end());
    options.version = version_text();
    options.nproc_per_node = static_cast<int>(settings_.nproc_per_node);
    options.nnodes = static_cast<int>(settings_.nnodes);
    options.node_rank = static_cast<int>(settings_.node_rank);
    options.rendezvous_endpoint = settings_.rdzv_endpoint;
    options.connect_timeout_seconds = static_cast<double>(settings_.rdzv_timeout);
    options.log_dir = settings_.log_dir.empty() ? logs_of_run() : std::filesystem::path(settings_.log_dir);
    base::handle_stop_signals("rqat: launch ends; the ranks are told to stop");
    dist::launch(options);
  }

 private:
  /// The recipe is read here as the ranks will read it, so that a fault in it is told once, before anything starts.
  std::filesystem::path logs_of_run() const {
    std::string config;
    std::vector<std::string> overrides;
    for (size_t i = 1; i < settings_.command.size(); ++i) {
      const std::string& word = settings_.command[i];
      if (word == "--config" && i + 1 < settings_.command.size()) {
        config = settings_.command[++i];
      } else if (base::starts_with(word, "--config=")) {
        config = word.substr(9);
      } else if (!base::starts_with(word, "--") &&
                 (word.find('=') != std::string::npos || base::starts_with(word, "~"))) {
        overrides.push_back(word);
      }
    }
    if (config.empty()) throw base::UsageError("rqat launch -- train: missing --config RECIPE");
    return std::filesystem::path(pipeline::load_recipe(config, overrides).output_dir) / "logs";
  }

  LaunchSettings settings_;
};

}  // namespace

base::Entry<Command> launch_entry() {
  return base::make_entry<base::Entry<Command>, LaunchSettings>(
      "launch", "start several ranks of `train`, on this host or several", "",
      [](const LaunchSettings& settings) { return std::make_unique<Launch>(settings); });
}

}  // namespace rqat::cli
