#include "benchmarks.h"

#include <map>
#include <numeric>

#include "rqat/base/error.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"
#include "rqat/generate/engine.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/ptq/initializer.h"
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
  options.estimator = base::Component("lsq");
  LoadedModel loaded = pipeline::load_model_folder(config.model, options);
  if (loaded.quantized)
    throw base::ConfigError(
        cat(config.model, ": is quantised; the benchmarks quantise a full-precision model themselves"));
  return loaded;
}

quant::QuantPolicy policy_of(const BenchmarkConfig& config) {
  quant::QuantPolicy policy;
  static_cast<quant::QuantFormat&>(policy) = config.format;
  return policy;
}

std::vector<data::Record> problems(const data::DataConfig& data) { return data::load_records(data, 1); }

data::DataConfig problem_settings(int64_t count) {
  data::DataConfig data;
  data.generators = data::tasks().names();
  data.num_examples = count;
  data.max_length = 4096;
  return data;
}

std::vector<data::Example> examples_of(const LoadedModel& loaded, int64_t count) {
  const data::DataConfig data = problem_settings(count);
  return data::encode_examples(problems(data), data, *loaded.tokenizer, *loaded.chat);
}

double mean_tokens(const std::vector<data::Example>& examples, int64_t batch_size) {
  double total = 0;
  for (const data::Example& example : examples) total += static_cast<double>(example.ids.size());
  return total / static_cast<double>(examples.size()) * static_cast<double>(batch_size);
}

BenchmarkResult time_load(const BenchmarkConfig& config) {
  BenchmarkResult result{"model and tokenizer, files in the page cache", {}, 0};
  for (int64_t i = 0; i <= config.repeats; ++i) {
    const double start = seconds_now();
    load(config);
    if (i > 0) result.seconds.push_back(seconds_now() - start);
  }
  return result;
}

/// Seconds between the ends of optimizer steps.
BenchmarkResult time_steps(const BenchmarkConfig& config, LoadedModel& student, LoadedModel* teacher,
                           const std::string& objective) {
  const std::vector<data::Example> examples = examples_of(student, config.batch_size * (config.repeats + 1));
  train::SupervisedConfig settings;
  settings.objective = base::Component(objective);
  settings.batch_size = config.batch_size;
  settings.max_steps = config.repeats + 1;
  BenchmarkResult result;
  result.tokens = mean_tokens(examples, config.batch_size);
  result.what = cat("one optimizer step, ", config.batch_size, " problems, about ",
                    base::format_fixed(result.tokens, 0), " tokens");
  double last = 0;
  train::Callbacks callbacks;
  callbacks.on_metrics = [&](int64_t step, const train::Metrics&) {
    const double now = seconds_now();
    if (step > 0) result.seconds.push_back(now - last);
    last = now;
  };
  train::train_supervised(*student.model, teacher == nullptr ? nullptr : teacher->model.get(), examples, settings, 1,
                          callbacks);
  return result;
}

BenchmarkResult time_sft_step(const BenchmarkConfig& config) {
  LoadedModel model = load(config);
  return time_steps(config, model, nullptr, "cross_entropy");
}

BenchmarkResult time_kd_step(const BenchmarkConfig& config) {
  const quant::QuantPolicy policy = policy_of(config);
  LoadedModel teacher = load(config), student = load(config, &policy);
  ptq::initializers().make("rtn")->initialize(*student.model, {}, {});
  BenchmarkResult result = time_steps(config, student, &teacher, "kl_forward");
  result.what += cat(", student ", config.format.text());
  return result;
}

BenchmarkResult time_generate(const BenchmarkConfig& config) {
  const quant::QuantPolicy policy = policy_of(config);
  LoadedModel loaded = load(config, &policy);
  ptq::initializers().make("rtn")->initialize(*loaded.model, {}, {});
  loaded.model->set_execution(nn::Execution::kPacked);
  const data::DataConfig data = problem_settings(config.batch_size);
  std::vector<generate::Request> requests;
  for (const data::Record& record : problems(data)) {
    requests.push_back({data::encode_prompt(record, data, *loaded.tokenizer, *loaded.chat), 1});
  }
  generate::SamplingConfig sampling;
  sampling.max_new_tokens = config.max_new_tokens;
  sampling.temperature = 1;
  // No stop token, so that every repeat draws the same number of tokens.
  generate::Engine engine(*loaded.model, {}, config.batch_size, 4096 + config.max_new_tokens);
  BenchmarkResult result;
  for (int64_t i = 0; i <= config.repeats; ++i) {
    engine.generate(requests, sampling, 1);
    if (i > 0) result.seconds.push_back(engine.stats().seconds);
  }
  result.tokens = static_cast<double>(engine.stats().new_tokens);
  result.what = cat(config.batch_size, " problems at once, ", config.max_new_tokens,
                    " new tokens each, prompts included, ", config.format.text());
  return result;
}

BenchmarkResult time_gptq(const BenchmarkConfig& config) {
  const quant::QuantPolicy policy = policy_of(config);
  BenchmarkResult result;
  for (int64_t i = 0; i < config.repeats; ++i) {
    LoadedModel loaded = load(config, &policy);
    std::vector<std::vector<int64_t>> documents;
    for (const data::Example& example : examples_of(loaded, config.batch_size)) documents.push_back(example.ids);
    const std::vector<nn::TokenBatch> calibration{nn::make_token_batch(documents).to(loaded.model->device())};
    result.tokens = static_cast<double>(calibration[0].size());
    base::Progress progress("gptq", static_cast<int64_t>(loaded.model->linears().size()));
    const double start = seconds_now();
    ptq::initializers().make("gptq")->initialize(
        *loaded.model, calibration,
        [&](int64_t done, int64_t, const std::string& status) { progress.update(done, status); });
    result.seconds.push_back(seconds_now() - start);
  }
  result.what = cat("all layers, ", result.tokens, " calibration tokens, ", config.format.text());
  return result;
}

const std::map<std::string, BenchmarkResult (*)(const BenchmarkConfig&)>& benchmarks() {
  static const std::map<std::string, BenchmarkResult (*)(const BenchmarkConfig&)> table{{"load", time_load},
                                                                                        {"sft_step", time_sft_step},
                                                                                        {"kd_step", time_kd_step},
                                                                                        {"generate", time_generate},
                                                                                        {"gptq", time_gptq}};
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
  v.field("model", model, "full-precision model: folder or GGUF file");
  v.required("model");
  v.field("repeats", repeats, "timed repeats", base::Range{1, 1000});
  v.field("batch_size", batch_size, "problems per step, per generation, or for calibration", base::Range{1, 4096});
  v.field("max_new_tokens", max_new_tokens, "tokens drawn per problem (generate)", base::Range{1, 4096});
  format.fields(v);
  v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
}

BenchmarkResult run_benchmark(const BenchmarkConfig& config) { return benchmarks().at(config.name)(config); }

}  // namespace rqat::cli
