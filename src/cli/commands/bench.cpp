#include <ATen/Parallel.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "benchmarks.h"
#include "rqat/cli/command.h"
#include "support.h"

namespace rqat::cli {

namespace {

class Bench : public Command {
 public:
  explicit Bench(BenchmarkConfig options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Times one kind of work on a real model and prints the median of the repeats, the tenth and ninetieth "
        "percentile, and the most memory held. load: reading the model. sft_step, kd_step: one optimizer step of "
        "full-precision training, and of distillation into a quantized student, teacher's forward included. qat_step: "
        "fine-tuning steps of the quantized and of the full-precision model in turns, and their ratio. generate: "
        "decoding on packed codes, a whole batch. gptq: quantizing the model. export: writing "
        "files for serving engines. machine: no model, but the matrix "
        "products and memory reads that the others can be set against. tools/peers/compare.py does the same work with "
        "other programs.",
        {"rqat bench kd_step --model models/smollm2-135m-instruct --batch-size 2 --sequence-length 512 --num-bits 2",
         "rqat bench generate --model models/smollm2-135m-instruct --batch-size 64 --threads 2 --json"},
        {"name"}};
  }

  void run() override {
    const ScratchFolder scratch;
    if (!options_.model.empty()) options_.model = as_model_folder(options_.model, scratch).string();
    const BenchmarkResult result = run_benchmark(options_);
    std::cout << (options_.json ? json_line(result) : table(result));
  }

 private:
  std::string json_line(const BenchmarkResult& result) const {
    nlohmann::json json{{"benchmark", options_.name},
                        {"what", result.what},
                        {"threads", at::get_num_threads()},
                        {"peak_memory_bytes", result.peak_bytes}};
    for (const BenchmarkSeries& series : result.series) {
      const double median = quantile(series.seconds, 0.5);
      json["series"].push_back({{"name", series.name},
                                {"repeats", series.seconds.size()},
                                {"median_seconds", median},
                                {"p10_seconds", quantile(series.seconds, 0.1)},
                                {"p90_seconds", quantile(series.seconds, 0.9)}});
      if (series.unit.empty()) continue;
      json["series"].back()["unit"] = series.unit;
      json["series"].back()["amount"] = series.amount;
      json["series"].back()["per_second"] = series.amount / median;
    }
    return json.dump() + "\n";
  }

  std::string table(const BenchmarkResult& result) const {
    std::vector<std::vector<std::string>> rows{{"", "repeats", "median s", "p10", "p90", "per second"}};
    for (const BenchmarkSeries& series : result.series) {
      const double median = quantile(series.seconds, 0.5);
      rows.push_back(
          {series.name, std::to_string(series.seconds.size()), base::format_fixed(median, 4),
           base::format_fixed(quantile(series.seconds, 0.1), 4), base::format_fixed(quantile(series.seconds, 0.9), 4),
           series.unit.empty() ? "-" : base::cat(base::format_fixed(series.amount / median, 1), " ", series.unit)});
    }
    std::string text = base::cat(result.what, "\n", table_text(rows, {1, 2, 3, 4, 5}));
    if (options_.name == "qat_step") {
      const double ratio = quantile(result.series[0].seconds, 0.5) / quantile(result.series[1].seconds, 0.5);
      text += base::cat("a quantized step takes ", base::format_fixed(ratio, 3), " of a full-precision one\n");
    }
    return base::cat(text, "peak memory: ", base::format_bytes(result.peak_bytes), ", ", at::get_num_threads(),
                     " threads\n");
  }

  BenchmarkConfig options_;
};

}  // namespace

base::Entry<Command> bench_entry() {
  return base::make_entry<base::Entry<Command>, BenchmarkConfig>(
      "bench", "time training steps, generation, GPTQ, loading or exporting on a model, or the machine itself", "",
      [](const BenchmarkConfig& options) { return std::make_unique<Bench>(options); });
}

}  // namespace rqat::cli
