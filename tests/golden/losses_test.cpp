// Losses of recipes/debug/full.yaml step by step: a change that does not change the maths leaves them as they are.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/tiny_model.h"
#include "golden/golden.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/runner.h"

namespace rqat::golden {
namespace {

namespace fs = std::filesystem;
using base::cat;

// The same numbers on every machine: one thread, fp32, no special instructions. The libraries read this at their first
// use.
const bool kPortable = [] {
  ::setenv("RQAT_KERNELS", "portable", 1);
  ::setenv("ATEN_CPU_CAPABILITY", "default", 1);
  ::setenv("MKL_CBWR", "COMPATIBLE", 1);
  ::setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1);
  return true;
}();

std::string six_digits(const nlohmann::json& number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", number.get<double>());
  return text;
}

/// "teacher 0 loss 5.56107 grad_norm 1.2": the numbers of the maths, none of speed.
std::string steps_of(const fs::path& run, const std::string& stage) {
  std::string text;
  for (const std::string& line : base::split(base::read_file(run / stage / "metrics.jsonl"), '\n')) {
    if (line.empty()) continue;
    const nlohmann::json row = nlohmann::json::parse(line);
    text += cat(stage, " ", row.at("step").get<int>());
    for (const char* key : {"loss", "grad_norm", "learning_rate", "reward"}) {
      if (row.contains(key)) text += cat(" ", key, " ", six_digits(row.at(key)));
    }
    text += "\n";
  }
  return text;
}

std::string errors_of(const fs::path& run, const std::string& stage) {
  std::string text;
  for (const nlohmann::json& layer : nlohmann::json::parse(base::read_file(run / stage / "quant_report.json"))) {
    text += cat(stage, " ", layer.at("layer").get<std::string>(), " error ", six_digits(layer.at("error")), "\n");
  }
  return text;
}

/// Larger weights than training starts from: else two bits more or less hardly show behind the embeddings.
void enlarge_linears(const fs::path& model) {
  const io::SafetensorsReader reader(model / "model.safetensors");
  io::TensorMap weights;
  for (const auto& [name, info] : reader.tensors()) {
    weights[name] = reader.read(name) * (name.find("_proj") != std::string::npos ? 20.0 : 1.0);
  }
  io::write_safetensors(model / "model.safetensors", weights);
}

TEST(Golden, StepsOfTheDebugRecipe) {
  ASSERT_TRUE(kPortable);
  base::set_log_level(base::LogLevel::kError);
  at::set_num_threads(1);
  // Files are fsynced: in memory that costs nothing.
  const fs::path folder = (::access("/dev/shm", W_OK) == 0 ? fs::path("/dev/shm") : fs::temp_directory_path()) /
                          cat("rqat_golden_", ::getpid());
  cli::TinyModelConfig tiny;
  tiny.out = (folder / "model").string();
  tiny.hidden_size = 64;
  tiny.num_layers = 2;
  tiny.seed = 1;
  tiny.dtype = "float32";
  fs::create_directories(folder);
  cli::write_tiny_model(tiny);
  enlarge_linears(tiny.out);
  const fs::path run = folder / "run";
  const pipeline::Recipe recipe = pipeline::load_recipe(
      fs::path(RQAT_SOURCE_DIR) / "recipes/debug/full.yaml",
      {cat("models.base.path=", tiny.out), cat("output_dir=", run.string()), "device=cpu", "stages.teacher.max_steps=8",
       "stages.kd.max_steps=6", "stages.rl.reward={format: {weight: 1, marker: e, require_finished: false}}"});
  pipeline::run_recipe(recipe, {false, {"teacher", "rtn", "gptq", "kd", "rl"}});
  const std::string text =
      cat("# recipes/debug/full.yaml, teacher 8 steps, kd 6 steps, reward for the letter e: fp32, one thread, portable "
          "kernels\n",
          steps_of(run, "teacher"), errors_of(run, "rtn"), errors_of(run, "gptq"), steps_of(run, "kd"),
          steps_of(run, "rl"));
  fs::remove_all(folder);
  expect_golden("debug_full_steps.txt", text);
}

}  // namespace
}  // namespace rqat::golden
