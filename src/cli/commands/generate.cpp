#include <iostream>

#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/cli/command.h"
#include "rqat/generate/stream.h"
#include "rqat/text/stream_decoder.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct GenerateOptions : base::Config {
  std::string model, prompt, system, dtype = "auto", device = "auto";
  generate::SamplingConfig sampling;
  int64_t seed = 0;
  bool raw = false, dense = false, show_special = false;
  GenerateOptions() { sampling.max_new_tokens = 256; }
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder or GGUF file");
    v.required("model");
    v.field("prompt", prompt, "what to answer; - reads it from standard input");
    v.required("prompt");
    v.field("system", system, "system turn; empty = what the chat template injects");
    v.field("raw", raw, "continue the prompt as plain text, without the chat template");
    sampling.fields(v);
    v.field("seed", seed, "of sampling", base::non_negative());
    v.field("show_special", show_special, "print special tokens too");
    v.field("dense", dense, "multiply with dense weights instead of the packed codes of quantized layers");
    v.choice("dtype", dtype, {"auto", "bfloat16", "float32"}, "what to compute in; auto = the folder's");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
  }
};

class Generate : public Command {
 public:
  explicit Generate(GenerateOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Answers one prompt and prints the text as it is drawn. Quantized models run on their packed codes, as in "
        "rollouts and "
        "evaluation.",
        {"rqat generate --model runs/quickstart/rl --prompt \"Tom has 3 apples and buys 4 more. How many has he?\"",
         "rqat generate --model models/smollm2-135m-instruct --raw --prompt \"Once upon a time\" --temperature 0.8"},
        {}};
  }

  void run() override {
    if (options_.prompt == "-") options_.prompt = std::string(std::istreambuf_iterator<char>(std::cin), {});
    pipeline::LoadOptions load;
    load.dtype = options_.dtype;
    load.device = pipeline::pick_device(options_.device);
    const pipeline::LoadedModel loaded = pipeline::load_model_folder(options_.model, load);
    loaded.model->set_execution(options_.dense ? nn::Execution::kTrain : nn::Execution::kPacked);
    text::StreamDecoder decoder(*loaded.tokenizer, !options_.show_special);
    const std::vector<int64_t> prompt = loaded.tokenizer->encode(prompt_text(*loaded.chat));
    if (prompt.empty()) {
      throw base::UsageError(
          "--prompt is empty, and without a chat template there is nothing to continue; give some text, or leave out "
          "--raw");
    }
    const double start = seconds_now();
    const generate::Completion completion =
        generate::generate_stream(*loaded.model, loaded.stop_ids, prompt, options_.sampling,
                                  static_cast<uint64_t>(options_.seed), loaded.model->config().max_position_embeddings,
                                  [&](int64_t id) { std::cout << decoder.push(id) << std::flush; });
    std::cout << decoder.flush() << std::endl;
    const double seconds = seconds_now() - start;
    base::log_info(base::cat(completion.ids.size(), " tokens, ",
                             base::format_fixed(static_cast<double>(completion.ids.size()) / seconds, 1), " tokens/s",
                             completion.finished ? "" : "; cut at max_new_tokens"));
  }

 private:
  std::string prompt_text(const text::ChatTemplate& chat) const {
    if (options_.raw) return options_.prompt;
    std::vector<text::Message> messages;
    if (!options_.system.empty()) messages.push_back({"system", options_.system});
    messages.push_back({"user", options_.prompt});
    return chat.render(messages, true);
  }

  GenerateOptions options_;
};

}  // namespace

base::Entry<Command> generate_entry() {
  return base::make_entry<base::Entry<Command>, GenerateOptions>(
      "generate", "answer a prompt, token by token", "",
      [](const GenerateOptions& options) { return std::make_unique<Generate>(options); });
}

}  // namespace rqat::cli
