#include "benchmarks.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "benchmark_inputs.h"
#include "machine_speed.h"
#include "peak_memory.h"
#include "rqat/base/error.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"
#include "rqat/export/exporter.h"
#include "rqat/generate/engine.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/estimator.h"
#include "rqat/train/trainer.h"
#include "support.h"

namespace rqat::cli {

namespace {

using base::cat;
using pipeline::LoadedModel;

LoadedModel load(const BenchmarkConfig& config, const quant::QuantPolicy* policy = nullptr) {
  pipeline::LoadOptions options;
  options.device = pipeline::pick_device(config.device);
  options.policy = policy;
  options.estimator = config.estimator;
  LoadedModel loaded = pipeline::load_model_folder(config.model, options);
  if (loaded.quantized)
    throw base::ConfigError(
        cat(config.model, ": is quantized; the benchmarks quantize a full-precision model themselves"));
  return loaded;
}

quant::QuantPolicy policy_of(const BenchmarkConfig& config) {
  quant::QuantPolicy policy;
  static_cast<quant::QuantFormat&>(policy) = config.format;
  return policy;
}

LoadedModel load_quantized(const BenchmarkConfig& config) {
  const quant::QuantPolicy policy = policy_of(config);
  LoadedModel loaded = load(config, &policy);
  ptq::initializers().make("rtn")->initialize(*loaded.model, {}, {});
  return loaded;
}

double mean_tokens(const std::vector<data::Example>& examples, int64_t batch_size) {
  double total = 0;
  for (const data::Example& example : examples) total += static_cast<double>(example.ids.size());
  return total / static_cast<double>(examples.size()) * static_cast<double>(batch_size);
}

/// "16 sequences" or "2 sequences of 512 tokens".
std::string batch_text(const BenchmarkConfig& config) {
  return cat(config.batch_size, " sequences",
             config.sequence_length > 0 ? cat(" of ", config.sequence_length, " tokens") : "");
}

BenchmarkResult time_load(const BenchmarkConfig& config) {
  const PeakMemory peak;
  BenchmarkResult result{"model and tokenizer, files in the page cache", {{config.name, {}, 0, ""}}, 0};
  for (int64_t i = 0; i <= config.repeats; ++i) {
    const double start = seconds_now();
    load(config);
    if (i > 0) result.series[0].seconds.push_back(seconds_now() - start);
  }
  result.peak_bytes = peak.bytes();
  return result;
}

/// Appends the seconds of `steps` optimizer steps, after one that warms up.
void run_steps(const BenchmarkConfig& config, int64_t steps, LoadedModel& student, LoadedModel* teacher,
               const std::string& objective, BenchmarkSeries& series) {
  const std::vector<data::Example> examples = benchmark_examples(config, student, config.batch_size * (steps + 1));
  train::SupervisedConfig settings;
  settings.objective = base::Component(objective);
  settings.batch_size = config.batch_size;
  settings.max_tokens_per_micro_batch = config.max_tokens_per_micro_batch;
  settings.max_steps = steps + 1;
  settings.optimizer = config.optimizer;
  settings.gradient_checkpointing = config.gradient_checkpointing;
  series.amount = mean_tokens(examples, config.batch_size);
  series.unit = "tokens";
  train::Callbacks callbacks;
  callbacks.on_metrics = [&](int64_t step, const train::Metrics& metrics) {
    if (step > 0) series.seconds.push_back(metrics.at("step_seconds"));
  };
  train::train_supervised(*student.model, teacher == nullptr ? nullptr : teacher->model.get(), examples, settings, 1,
                          callbacks);
}

BenchmarkResult time_sft_step(const BenchmarkConfig& config) {
  LoadedModel model = load(config);
  const PeakMemory peak;
  BenchmarkResult result{cat("one optimizer step of fine-tuning, ", batch_text(config)), {{config.name, {}, 0, ""}}, 0};
  run_steps(config, config.repeats, model, nullptr, "cross_entropy", result.series[0]);
  result.peak_bytes = peak.bytes();
  return result;
}

BenchmarkResult time_kd_step(const BenchmarkConfig& config) {
  LoadedModel teacher = load(config), student = load_quantized(config);
  const PeakMemory peak;
  BenchmarkResult result{cat("one optimizer step of distillation, ", batch_text(config), ", teacher's forward included",
                             ", student ", config.format.text()),
                         {{config.name, {}, 0, ""}},
                         0};
  run_steps(config, config.repeats, student, &teacher, "kl_forward", result.series[0]);
  result.peak_bytes = peak.bytes();
  return result;
}

BenchmarkResult time_qat_step(const BenchmarkConfig& config) {
  LoadedModel plain = load(config), quantized = load_quantized(config);
  const PeakMemory peak;
  BenchmarkResult result{cat("one optimizer step of fine-tuning, ", batch_text(config), ": quantized to ",
                             config.format.text(), ", and in full precision"),
                         {{config.name, {}, 0, ""}, {"sft_step", {}, 0, ""}},
                         0};
  for (int64_t i = 0; i < config.repeats; ++i) {
    run_steps(config, 1, quantized, nullptr, "cross_entropy", result.series[0]);
    run_steps(config, 1, plain, nullptr, "cross_entropy", result.series[1]);
  }
  result.peak_bytes = peak.bytes();
  return result;
}

BenchmarkResult time_generate(const BenchmarkConfig& config) {
  LoadedModel loaded = load_quantized(config);
  loaded.model->set_execution(nn::Execution::kPacked);
  std::vector<generate::Request> requests;
  for (std::vector<int64_t>& prompt : benchmark_prompts(config, loaded)) requests.push_back({std::move(prompt), 1});
  generate::SamplingConfig sampling;
  sampling.max_new_tokens = config.max_new_tokens;
  sampling.temperature = config.temperature;
  const PeakMemory peak;
  // No stop token, so that every repeat draws the same number of tokens.
  generate::Engine engine(*loaded.model, {}, config.batch_size, 4096 + config.max_new_tokens);
  BenchmarkSeries series{config.name, {}, 0, "tokens"};
  for (int64_t i = 0; i <= config.repeats; ++i) {
    engine.generate(requests, sampling, 1);
    if (i > 0) series.seconds.push_back(engine.stats().seconds);
  }
  series.amount = static_cast<double>(engine.stats().new_tokens);
  return {cat(config.max_new_tokens, " new tokens for each of ", batch_text(config), ", prompts (",
              engine.stats().prompt_tokens, " tokens) included, ", config.format.text()),
          {series},
          peak.bytes()};
}

std::vector<nn::TokenBatch> calibration_of(const BenchmarkConfig& config, const LoadedModel& loaded) {
  const std::vector<data::Example> examples = benchmark_examples(config, loaded, config.batch_size);
  std::vector<int64_t> lengths;
  lengths.reserve(examples.size());
  for (const data::Example& example : examples) lengths.push_back(static_cast<int64_t>(example.ids.size()));
  std::vector<nn::TokenBatch> batches;
  for (const std::vector<int64_t>& group : data::pack_micro_batches(lengths, config.max_tokens_per_micro_batch)) {
    std::vector<std::vector<int64_t>> documents;
    documents.reserve(group.size());
    for (int64_t index : group) documents.push_back(examples[static_cast<size_t>(index)].ids);
    batches.push_back(nn::make_token_batch(documents).to(loaded.model->device()));
  }
  return batches;
}

BenchmarkResult time_gptq(const BenchmarkConfig& config) {
  const quant::QuantPolicy policy = policy_of(config);
  BenchmarkSeries series{config.name, {}, 0, "tokens"};
  int64_t peak_bytes = 0;
  for (int64_t i = 0; i < config.repeats; ++i) {
    LoadedModel loaded = load(config, &policy);
    const std::vector<nn::TokenBatch> calibration = calibration_of(config, loaded);
    series.amount = 0;
    for (const nn::TokenBatch& batch : calibration) series.amount += static_cast<double>(batch.size());
    base::Progress progress("gptq", static_cast<int64_t>(loaded.model->linears().size()));
    const PeakMemory peak;
    const double start = seconds_now();
    ptq::initializers().make("gptq")->initialize(
        *loaded.model, calibration,
        [&](int64_t done, int64_t, const std::string& status) { progress.update(done, status); });
    series.seconds.push_back(seconds_now() - start);
    peak_bytes = std::max(peak_bytes, peak.bytes());
  }
  return {cat("all layers to ", config.format.text(), ", calibrated on ", batch_text(config)), {series}, peak_bytes};
}

BenchmarkResult time_export(const BenchmarkConfig& config) {
  LoadedModel loaded = load_quantized(config);
  const ScratchFolder scratch;
  const auto exporter = exporting::exporters().make(config.exporter);
  BenchmarkSeries series{config.name, {}, 0, "MB"};
  const PeakMemory peak;
  const std::filesystem::path folder = scratch.path() / "export";
  for (int64_t i = 0; i <= config.repeats; ++i) {
    const double start = seconds_now();
    const exporting::ExportReport report = exporter->write(*loaded.model, loaded.folder, folder);
    if (i > 0) series.seconds.push_back(seconds_now() - start);
    series.amount = static_cast<double>(report.total_bytes) / 1e6;
    // A new folder each time: replacing one would time how the disk frees the old files.
    std::filesystem::remove_all(folder);
  }
  return {cat("files of ", config.exporter.name, " from codes of ", config.format.text(), ", synced to disk"),
          {series},
          peak.bytes()};
}

BenchmarkResult time_machine(const BenchmarkConfig& config) {
  return machine_speed(config.repeats, pipeline::pick_device(config.device));
}

const std::map<std::string, BenchmarkResult (*)(const BenchmarkConfig&)>& benchmarks() {
  static const std::map<std::string, BenchmarkResult (*)(const BenchmarkConfig&)> table{
      {"load", time_load},         {"sft_step", time_sft_step}, {"qat_step", time_qat_step}, {"kd_step", time_kd_step},
      {"generate", time_generate}, {"gptq", time_gptq},         {"export", time_export},     {"machine", time_machine}};
  return table;
}

}  // namespace

BenchmarkConfig::BenchmarkConfig() {
  format.num_bits = 2;
  format.group_size = 64;
}

void BenchmarkConfig::fields(base::FieldVisitor& v) {
  std::vector<std::string> names;
  for (const auto& [benchmark, function] : benchmarks()) names.push_back(benchmark);
  v.choice("name", name, names, "what to time");
  v.required("name");
  v.field("model", model, "full-precision model: folder or GGUF file; `machine` needs none");
  v.field("repeats", repeats, "timed repeats", base::Range{1, 1000});
  v.field("batch_size", batch_size, "sequences per step, per generation, or for calibration", base::Range{1, 4096});
  v.field("sequence_length", sequence_length,
          "tokens of each sequence or prompt, cut from problems laid end to end; 0 = whole problems",
          base::Range{0, 4096});
  v.field("ids", ids, "JSON file, a list of lists of token ids: sequences instead of problems");
  v.field("max_tokens_per_micro_batch", max_tokens_per_micro_batch, "tokens per forward (steps, gptq)",
          base::Range{16, 1e7});
  v.field("max_new_tokens", max_new_tokens, "tokens drawn per prompt, no fewer (generate)", base::Range{1, 4096});
  v.field("temperature", temperature, "0 = greedy (generate)", base::non_negative());
  format.fields(v);
  v.component("estimator", estimator, quant::estimators(), "gradient of the quantizer (kd_step, qat_step)");
  v.component("optimizer", optimizer, optim::optimizers(), "optimizer (steps)");
  v.field("gradient_checkpointing", gradient_checkpointing, "blocks are computed again in the backward (steps)");
  v.component("exporter", exporter, exporting::exporters(), "file format (export)");
  v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
  v.field("json", json, "print one line of JSON instead of the table");
}

std::vector<std::string> BenchmarkConfig::check() const {
  std::vector<std::string> faults = format.check();
  if (model.empty() && name != "machine") faults.push_back(cat("benchmark ", name, " needs a model (--model PATH)"));
  return faults;
}

BenchmarkResult run_benchmark(const BenchmarkConfig& config) { return benchmarks().at(config.name)(config); }

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place), above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
}

}  // namespace rqat::cli
