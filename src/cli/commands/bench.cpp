#include <algorithm>
#include <iostream>

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
        "Times one kind of work on a real model, with problems from the generators, and prints the median of the "
        "repeats. load: "
        "reading the model; sft_step and kd_step: one optimizer step of full-precision training and of distillation "
        "into a "
        "quantised student; generate: decoding on packed codes, a whole batch; gptq: quantising the model.",
        {"rqat bench kd_step --model models/smollm2-135m-instruct --num-bits 2 --group-size 64",
         "rqat bench generate --model models/smollm2-135m-instruct --batch-size 64 --threads 2"},
        {"name"}};
  }

  void run() override {
    const ScratchFolder scratch;
    options_.model = as_model_folder(options_.model, scratch).string();
    const BenchmarkResult result = run_benchmark(options_);
    std::vector<double> seconds = result.seconds;
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    std::cout << table_text(
        {{"benchmark", options_.name},
         {"what", result.what},
         {"repeats", std::to_string(seconds.size())},
         {"median seconds", base::format_fixed(median, 4)},
         {"range", base::cat(base::format_fixed(seconds.front(), 4), " .. ", base::format_fixed(seconds.back(), 4))},
         {"tokens/s", result.tokens == 0 ? "-" : base::format_fixed(result.tokens / median, 1)}});
  }

 private:
  BenchmarkConfig options_;
};

}  // namespace

base::Entry<Command> bench_entry() {
  return base::make_entry<base::Entry<Command>, BenchmarkConfig>(
      "bench", "times training steps, generation, GPTQ or loading on a model", "",
      [](const BenchmarkConfig& options) { return std::make_unique<Bench>(options); });
}

}  // namespace rqat::cli
