// A run folder like that of recipes/quickstart.yaml, made of invented numbers: what the report is tested on.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace rqat::pipeline {

class SyntheticRun {
 public:
  explicit SyntheticRun(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// All stages done.
  void write_finished() {
    write_run_file(true);
    write("recipe.yaml", recipe());
    write_stamp("base", "import", "path: models/base.gguf", 4.2);
    write_supervised("teacher", 120, 3.2, 0.35, 0);
    write_quantize("rtn", 1.0);
    write_quantize("gptq", 0.55);
    write_supervised("kd", 400, 1.4, 0.12, 4e-4);
    write_reinforce("rl", 60);
    write_evaluation("scores");
    write_export("files");
  }

  /// The teacher is done, the distillation writes its metrics, and the evaluation has measured two models.
  void write_under_way() {
    write_run_file(false);
    write("recipe.yaml", recipe());
    write_stamp("base", "import", "path: models/base.gguf", 4.2);
    write_supervised("teacher", 120, 3.2, 0.35, 0);
    write_supervised("kd", 30, 1.4, 0.12, 4e-4);
    std::filesystem::remove(folder_ / "kd" / "stage.json");
    std::ofstream(folder_ / "kd" / "metrics.jsonl", std::ios::app) << R"({"step":30,"lo)";
    const nlohmann::json all = results();
    for (const size_t i : {0, 1}) {
      write("scores/model_" + all["models"][i]["model"].get<std::string>() + ".json", all["models"][i].dump());
    }
  }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path, std::ios::binary) << text;
  }

  void write_run_file(bool finished, const std::string& name = "quickstart") {
    write("run.json", nlohmann::json({{"name", name},
                                      {"version", "0.1.0"},
                                      {"stages", {"base", "teacher", "rtn", "gptq", "kd", "rl", "scores", "files"}},
                                      {"finished", finished},
                                      {"started", 1795309200.0},
                                      {"seconds", 1523.0},
                                      {"device", "cpu"},
                                      {"seed", 42}})
                          .dump());
  }

  void write_stamp(const std::string& id, const std::string& type, const std::string& settings, double seconds) {
    write(id + "/stage.json", nlohmann::json({{"id", id},
                                              {"type", type},
                                              {"makes", "model"},
                                              {"finished", true},
                                              {"fingerprint", "ab"},
                                              {"settings", settings},
                                              {"seconds", seconds},
                                              {"inputs", nlohmann::json::object()},
                                              {"summary", {{"steps", 3}}}})
                                  .dump());
  }

  static nlohmann::json proportion(double value, int total) {
    const int successes = static_cast<int>(std::lround(value * total));
    const double spread = 1.96 * std::sqrt(value * (1 - value) / total);
    return {{"successes", successes},
            {"total", total},
            {"value", static_cast<double>(successes) / total},
            {"low", std::max(0.0, value - spread)},
            {"high", std::min(1.0, value + spread)}};
  }

  nlohmann::json results() {
    const std::vector<std::string> models{"base", "teacher", "rtn", "gptq", "kd", "rl"};
    const std::vector<double> accuracies{0.094, 0.846, 0.002, 0.312, 0.625, 0.704}, kl{1.92, 0, 7.31, 1.08, 0.21, 0.24};
    const std::vector<std::string> families{"chain_sums",    "comparison",        "multiply_grouping",
                                            "one_step_word", "temporal_ordering", "two_step_word"};
    nlohmann::json rows = nlohmann::json::array(), differences = nlohmann::json::array();
    for (size_t m = 0; m < models.size(); ++m) {
      const bool quantized = m >= 2;
      nlohmann::json tasks;
      for (const std::string set : {"heldout", "familiar"}) {
        const double accuracy = std::min(0.98, accuracies[m] * (set == "familiar" ? 1.12 : 1));
        nlohmann::json by_family;
        for (const std::string& family : families)
          by_family[family] = proportion(std::clamp(accuracy + 0.1 * (uniform_(random_) - 0.5), 0.0, 1.0), 80);
        tasks[set] = {{"overall", proportion(accuracy, 480)},
                      {"by_family", by_family},
                      {"mean_response_tokens", 32.5 + 3 * static_cast<double>(m)},
                      {"cut_share", 0.01 * static_cast<double>(m)},
                      {"seconds", 12.5},
                      {"tokens_per_second", 812.0},
                      {"perplexity", m == 2 ? 6553.036 : 1.18 + kl[m]},
                      {"kl_to_teacher", kl[m]},
                      {"correct", {0, 1}}};
      }
      rows.push_back({{"model", models[m]},
                      {"size_bytes", quantized ? 87.6e6 : 269e6},
                      {"bits_per_weight", quantized ? 2.28 : 16.0},
                      {"seconds", 50.0},  // all six: 300, of which the stage itself says 260
                      {"tasks", tasks}});
      for (const std::string set : {"heldout", "familiar"}) {
        if (m == 0) continue;
        const double mean = accuracies[m] - accuracies[m - 1], half = m == 5 && set == "familiar" ? 0.09 : 0.045;
        differences.push_back({{"from", models[m - 1]},
                               {"to", models[m]},
                               {"task_set", set},
                               {"mean", mean},
                               {"low", mean - half},
                               {"high", mean + half},
                               {"shown", mean - half > 0 || mean + half < 0}});
      }
    }
    return {
        {"teacher", "teacher"}, {"task_sets", {"heldout", "familiar"}}, {"models", rows}, {"differences", differences}};
  }

 private:
  void write_supervised(const std::string& id, int steps, double first, double last, double flipped) {
    std::string lines;
    for (int step = 0; step < steps; ++step) {
      const double progress = static_cast<double>(step) / 120;
      nlohmann::json row = {
          {"step", step},
          {"loss", (last + (first - last) * std::exp(-4 * progress)) * (0.85 + 0.3 * uniform_(random_))},
          {"grad_norm", 0.5 + 2 * std::exp(-3 * progress) + 0.4 * uniform_(random_)},
          {"learning_rate",
           1e-4 * std::min(1.0, (step + 1) / 10.0) * (0.1 + 0.9 * (1 - static_cast<double>(step) / steps))},
          {"tokens_per_second", 3800 + 400 * uniform_(random_)},
          {"codes_flipped", flipped * (0.4 + uniform_(random_))}};
      if (step % 20 == 0 && flipped > 0) row["eval_accuracy"] = 0.6 - 0.5 * std::exp(-2 * progress);
      lines += row.dump() + "\n";
    }
    write(id + "/metrics.jsonl", lines);
    write_stamp(id, "train", "type: train\nmodel: base\nmax_steps: " + std::to_string(steps) + "\n", 310.5);
  }

  void write_reinforce(const std::string& id, int steps) {
    std::string lines;
    for (int step = 0; step < steps; ++step) {
      const double reward = 0.55 + 0.15 * step / steps + 0.12 * (uniform_(random_) - 0.5);
      nlohmann::json row = {{"step", step},
                            {"loss", 0.02 * (uniform_(random_) - 0.5)},
                            {"reward", reward},
                            {"reward_std", 0.25 + 0.05 * uniform_(random_)},
                            {"zero_std_groups", 0.3 + 0.2 * uniform_(random_)},
                            {"mean_length", 40 + 5 * uniform_(random_)},
                            {"grad_norm", 0.1 + 0.1 * uniform_(random_)},
                            {"learning_rate", 1e-5},
                            {"tokens_per_second", 950 + 60 * uniform_(random_)},
                            {"codes_flipped", 2e-5 * uniform_(random_)}};
      if (step % 15 == 0) row["eval_accuracy"] = 0.62 + 0.08 * step / steps;
      lines += row.dump() + "\n";
    }
    write(id + "/metrics.jsonl", lines);
    write_stamp(id, "reinforce", "type: reinforce\nmodel: kd\n", 540);
  }

  void write_quantize(const std::string& id, double gain) {
    nlohmann::json layers = nlohmann::json::array();
    const std::vector<std::string> kinds{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                         "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    for (int block = 0; block < 30; ++block) {
      for (size_t kind = 0; kind < kinds.size(); ++kind) {
        const double rtn = 0.1 + 0.03 * static_cast<double>(kind) + 0.002 * block + 0.03 * uniform_(random_);
        const bool fallback = gain < 1 && block == 0 && kind == 4;
        layers.push_back({{"layer", "model.layers." + std::to_string(block) + "." + kinds[kind]},
                          {"format", "int2 g64"},
                          {"error", fallback ? rtn : gain * rtn},
                          {"rtn_error", rtn},
                          {"fallback", fallback},
                          {"note", fallback ? "not better" : ""},
                          {"seconds", 0.1}});
      }
    }
    write(id + "/quant_report.json", layers.dump());
    write_stamp(id, "quantize", "type: quantize\nmodel: teacher\ninitializer: " + id + "\n", gain < 1 ? 140.0 : 6.0);
  }

  void write_evaluation(const std::string& id) {
    write(id + "/results.json", results().dump());
    write_stamp(id, "evaluate", "type: evaluate\n", 260);
  }

  void write_export(const std::string& id) {
    const nlohmann::json layer = {
        {"name", "model.layers.0.mlp.up_proj"}, {"format", "int2"}, {"stored_as", "int4"}, {"bytes", 100}};
    write(id + "/export_report.json",
          nlohmann::json(
              {{"compressed_tensors",
                {{"total_bytes", 125e6},
                 {"serve_command",
                  "vllm serve 'runs/quickstart/files/compressed_tensors' --dtype bfloat16 --max-model-len 4096"},
                 {"codes_equal", true},
                 {"codes_compared", 106168320},
                 {"codes_different", 0},
                 {"max_logit_difference", 3.2e-7},
                 {"layers", {layer}}}},
               {"hf_dequantized",
                {{"total_bytes", 269e6},
                 {"serve_command", ""},
                 {"codes_equal", false},
                 {"codes_compared", 106168320},
                 {"codes_different", 17},
                 {"max_logit_difference", 0.0021},
                 {"notes", {"plain weights at full size"}},
                 {"layers", nlohmann::json::array()}}}})
              .dump());
    write_stamp(id, "export", "type: export\nmodel: rl\n", 12);
  }

  static std::string recipe() {
    return "name: quickstart\nmodels:\n  base: {path: models/base.gguf}\nstages:\n"
           "  - {id: teacher, type: train}\n  - {id: rtn, type: quantize}\n  - {id: gptq, type: quantize}\n"
           "  - {id: kd, type: train}\n  - {id: rl, type: reinforce}\n  - {id: scores, type: evaluate, models: [base], "
           "tasks: [heldout, familiar], teacher: teacher}\n  - {id: files, type: export}\n";
  }

  std::filesystem::path folder_;
  std::mt19937 random_{7};
  std::uniform_real_distribution<double> uniform_{0, 1};
};

}  // namespace rqat::pipeline
