#include <ATen/ATen.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "rqat/base/files.h"
#include "rqat/cli/command.h"
#include "support.h"
#include "tiny_model.h"

namespace rqat::cli {

namespace {

class Init : public Command {
 public:
  explicit Init(TinyModelConfig options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Writes a small model with random weights, a tokenizer whose tokens are single bytes, and a ChatML template: "
        "enough to "
        "run any recipe in seconds without a download. The debug recipes use it.",
        {"rqat init --family llama --out models/debug-llama --hidden-size 64 --num-layers 2 --seed 1"},
        {}};
  }

  void run() override {
    require_free(options_.out, options_.overwrite);
    write_tiny_model(options_);
    std::cout << options_.out << ": " << options_.family << ", " << options_.num_layers << " blocks of width "
              << options_.hidden_size << ", " << base::format_bytes(base::folder_bytes(options_.out)) << "\n";
  }

 private:
  TinyModelConfig options_;
};

}  // namespace

base::Entry<Command> init_entry() {
  return base::make_entry<base::Entry<Command>, TinyModelConfig>(
      "init", "make a small random model to try recipes on", "",
      [](const TinyModelConfig& options) { return std::make_unique<Init>(options); });
}

}  // namespace rqat::cli
