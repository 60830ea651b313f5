#include "rqat/pipeline/dry_run.h"

#include <algorithm>
#include <filesystem>

#include "probe.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/estimate.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;

std::string bytes_text(double bytes) { return base::format_bytes(static_cast<int64_t>(bytes)); }

/// 12'345'678 -> "12.3 M".
std::string count_text(double count) {
  if (count <= 0) return "-";
  if (count < 1e4) return base::format_fixed(count, 0);
  return count < 1e6 ? base::format_fixed(count / 1e3, 1) + " k" : base::format_fixed(count / 1e6, 1) + " M";
}

/// "kd (train): gptq, teacher -> model".
std::string graph(const Recipe& recipe) {
  std::string text = "Stages, in the order in which they run:\n";
  for (const auto& [id, source] : recipe.models) {
    const bool there = fs::exists(source.path);
    text += cat("  ", id, " = ", source.path, there ? "" : "   (does not exist: what starts from it is not estimated)",
                "\n");
  }
  for (const StageEntry& entry : recipe.stages) {
    const Uses uses = entry.stage->uses();
    text += cat("  ", entry.id, " (", entry.type, "): ", base::join(uses.models, ", "), " -> ", entry.stage->makes());
    std::vector<std::string> others = uses.data;
    others.insert(others.end(), uses.quant.begin(), uses.quant.end());
    text += others.empty() ? "\n" : cat("   with ", base::join(others, ", "), "\n");
  }
  return text;
}

struct Totals {
  double memory = 0, disk = 0, checkpoints = 0, seconds = 0;
  bool complete = true;
};

std::string padded(const std::string& text, size_t width) {
  return text + std::string(width > text.size() ? width - text.size() : 1, ' ');
}

std::string stage_row(const StageEntry& entry, const StageWork& work, const std::optional<StageEstimate>& estimate) {
  return cat("  ", padded(entry.id, 14), padded(estimate ? bytes_text(estimate->memory_bytes()) : "?", 11),
             padded(estimate ? bytes_text(estimate->disk_bytes) : "?", 11), padded(count_text(work.tokens), 10),
             padded(work.seconds > 0 ? base::format_duration(work.seconds) : "-", 10), work.what, "\n");
}

/// The nearest folder above `path` that exists.
fs::path existing_parent(fs::path path) {
  path = fs::absolute(path);
  while (!fs::exists(path) && path.has_relative_path()) path = path.parent_path();
  return path;
}

std::string totals_text(const Recipe& recipe, const Totals& totals) {
  const at::Device device = pick_device(recipe.device);
  const double disk = totals.disk + totals.checkpoints;
  const auto available = static_cast<double>(available_memory());
  const auto free_disk = static_cast<double>(fs::space(existing_parent(recipe.output_dir)).available);
  std::string text = cat("\n", device.is_cuda() ? cat("memory (", device.str(), "): at most ") : "memory: at most ",
                         bytes_text(totals.memory), device.is_cuda() ? "" : cat(" of ", bytes_text(available), " free"),
                         device.is_cuda() || totals.memory <= available ? "" : "   NOT ENOUGH", "\n");
  text += cat("disk: ", bytes_text(totals.disk), " in ", recipe.output_dir, ", with checkpoints up to ",
              bytes_text(disk), " of ", bytes_text(free_disk), " free", disk <= free_disk ? "" : "   NOT ENOUGH", "\n");
  if (totals.seconds > 0) {
    text += cat("time: about ", base::format_duration(totals.seconds),
                totals.complete ? "" : " for the stages that have one",
                " on this machine as busy as it is now; answers taken to be as long as those of the data\n");
  }
  return text;
}

}  // namespace

std::string dry_run(const Recipe& recipe) {
  std::string text =
      cat("# Resolved recipe\n", recipe.resolved.dump(), "\n", graph(recipe), "\n  ", padded("stage", 14),
          padded("memory", 11), padded("disk", 11), padded("tokens", 10), padded("time", 10), "work\n");
  Probe probe(recipe);
  Totals totals;
  std::string warnings;
  for (const StageEntry& entry : recipe.stages) {
    base::log_info(cat("probing stage ", entry.id));
    const std::optional<StageEstimate> estimate = estimate_stage(recipe, entry);
    const StageWork work = probe.measure(entry);
    text += stage_row(entry, work, estimate);
    totals.seconds += work.seconds;
    totals.complete = totals.complete && work.seconds > 0;
    if (!estimate) continue;
    totals.memory = std::max(totals.memory, estimate->memory_bytes());
    totals.disk += estimate->disk_bytes;
    totals.checkpoints = std::max(totals.checkpoints, estimate->checkpoint_bytes);
    const std::string warning = memory_warning(recipe, entry, available_memory());
    if (!warning.empty() && !pick_device(recipe.device).is_cuda()) warnings += cat("  ", warning, "\n");
  }
  text += totals_text(recipe, totals);
  return warnings.empty() ? text : cat(text, "\n", warnings);
}

}  // namespace rqat::pipeline
