#include <iostream>

#include "rqat/base/files.h"
#include "rqat/cli/command.h"
#include "rqat/export/import.h"
#include "rqat/io/gguf_import.h"
#include "rqat/io/safetensors.h"
#include "rqat/io/shard_size.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct ConvertOptions : base::Config {
  std::string input, output, dtype = "bfloat16", max_shard_size = io::kDefaultShardSize;
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override {
    v.field("input", input, "GGUF file, or a folder quantized by others: GPTQ, AWQ, compressed-tensors");
    v.required("input");
    v.field("output", output, "folder to write");
    v.required("output");
    v.choice("dtype", dtype, {"bfloat16", "float16", "float32"}, "type of the weights");
    v.field("max_shard_size", max_shard_size, "largest file of weights, unless one tensor is larger: 300MB, 5GB, 1GiB");
    v.field("overwrite", overwrite, "replace a model folder that stands there");
  }
  std::vector<std::string> check() const override { return io::shard_size_faults(max_shard_size); }
};

class Convert : public Command {
 public:
  explicit Convert(ConvertOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Turns a GGUF file into a Hugging Face folder: config.json, model.safetensors, tokenizer and chat template; "
        "quantized tensors are dequantized. A folder in GPTQ, AWQ or compressed-tensors becomes a quantized folder of "
        "rqat with the same codes, scales and zero points. Recipes and commands take both as they are; this is for "
        "looking "
        "at the result, or for other programs. Architectures of GGUF: llama (Mistral too), "
        "qwen2, qwen3, qwen3moe, smollm3, phi3, olmo2 (OLMo 3 too), gemma2, gemma3.",
        {"rqat convert models/SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2-135m-instruct"},
        {"input", "output"}};
  }

  void run() override {
    require_free(options_.output, options_.overwrite, {options_.input});
    const int64_t largest = io::shard_bytes(options_.max_shard_size);
    if (exporting::is_quantized_checkpoint(options_.input)) {
      exporting::import_quantized(options_.input, options_.output, options_.dtype, largest);
    } else {
      check_is_gguf();
      io::import_gguf(options_.input, options_.output, options_.dtype, largest);
    }
    std::cout << options_.output << ": " << base::format_bytes(base::folder_bytes(options_.output)) << "\n";
  }

 private:
  /// Pickled weights are refused as everywhere.
  void check_is_gguf() const {
    const std::filesystem::path input = options_.input;
    if (input.extension() == ".gguf") return;
    const io::TensorSource source(input);
    if (std::filesystem::is_directory(input) && exporting::is_mlx_folder(input)) {
      throw base::IoError(base::cat(options_.input,
                                    ": is quantized by MLX, which is not read; GPTQ, AWQ and "
                                    "compressed-tensors are"));
    }
    throw base::UsageError(base::cat(options_.input,
                                     ": holds plain safetensors weights, which recipes and commands take "
                                     "as they are: nothing to convert"));
  }

  ConvertOptions options_;
};

}  // namespace

base::Entry<Command> convert_entry() {
  return base::make_entry<base::Entry<Command>, ConvertOptions>(
      "convert", "turn a GGUF file, or a folder quantized by others, into a folder of rqat", "",
      [](const ConvertOptions& options) { return std::make_unique<Convert>(options); });
}

}  // namespace rqat::cli
