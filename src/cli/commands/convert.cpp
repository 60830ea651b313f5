#include <iostream>

#include "rqat/base/files.h"
#include "rqat/cli/command.h"
#include "rqat/io/gguf_import.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct ConvertOptions : base::Config {
  std::string input, output, dtype = "bfloat16";
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override {
    v.field("input", input, "GGUF file");
    v.required("input");
    v.field("output", output, "folder to write");
    v.required("output");
    v.choice("dtype", dtype, {"bfloat16", "float16", "float32"}, "type of the weights");
    v.field("overwrite", overwrite, "replace a model folder that stands there");
  }
};

class Convert : public Command {
 public:
  explicit Convert(ConvertOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Turns a GGUF file into a Hugging Face folder: config.json, model.safetensors, tokenizer and chat template. "
        "Recipes may "
        "name GGUF files themselves; this is for looking at the result, or for other programs. Architectures: llama, "
        "qwen2, "
        "qwen3; quantised tensors are dequantised.",
        {"rqat convert models/SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2-135m-instruct"},
        {"input", "output"}};
  }

  void run() override {
    require_free(options_.output, options_.overwrite);
    io::import_gguf(options_.input, options_.output, options_.dtype);
    std::cout << options_.output << ": " << base::format_bytes(base::folder_bytes(options_.output)) << "\n";
  }

 private:
  ConvertOptions options_;
};

}  // namespace

base::Entry<Command> convert_entry() {
  return base::make_entry<base::Entry<Command>, ConvertOptions>(
      "convert", "GGUF file to Hugging Face folder", "",
      [](const ConvertOptions& options) { return std::make_unique<Convert>(options); });
}

}  // namespace rqat::cli
