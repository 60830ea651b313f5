#include <iostream>

#include "rqat/cli/command.h"
#include "rqat/io/safetensors.h"
#include "rqat/model/forward.h"
#include "support.h"
#include "token_ids.h"

namespace rqat::cli {

namespace {

struct ForwardOptions : base::Config {
  std::string model, ids, out, dtype = "auto", device = "auto";
  bool packed = false;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder or GGUF file");
    v.required("model");
    v.field("ids", ids, "JSON file: a list of lists of token ids, all of one length");
    v.required("ids");
    v.field("out", out, "safetensors file to write: fp32 tensor `logits` [lists, length, vocabulary]");
    v.required("out");
    v.choice("dtype", dtype, {"auto", "bfloat16", "float32"}, "what to compute in; auto = the folder's");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
    v.field("packed", packed, "multiply with the packed codes of quantized layers, as generation does");
  }
};

class Forward : public Command {
 public:
  explicit Forward(ForwardOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "One forward pass over given token ids, all logits written: for comparing with other programs.",
        {"rqat forward --model models/smollm2-135m-instruct --ids ids.json --out logits.safetensors --dtype float32"},
        {}};
  }

  void run() override {
    const std::vector<std::vector<int64_t>> ids = read_token_ids(options_.ids);
    pipeline::LoadOptions load;
    load.dtype = options_.dtype;
    load.device = pipeline::pick_device(options_.device);
    load.with_tokenizer = false;
    load.with_masters = false;
    const pipeline::LoadedModel loaded = pipeline::load_model_folder(options_.model, load);
    require_in_vocabulary(ids, loaded.model->config().vocab_size, options_.ids);
    if (options_.packed) loaded.model->set_execution(nn::Execution::kPacked);
    const at::Tensor logits = model::forward_logits(*loaded.model, ids).cpu();
    io::write_safetensors(options_.out, {{"logits", logits}});
    std::cout << options_.out << ": logits [" << logits.size(0) << ", " << logits.size(1) << ", " << logits.size(2)
              << "]\n";
  }

 private:
  ForwardOptions options_;
};

}  // namespace

base::Entry<Command> forward_entry() {
  return base::make_entry<base::Entry<Command>, ForwardOptions>(
      "forward", "write the logits of token ids, to compare with other programs", "",
      [](const ForwardOptions& options) { return std::make_unique<Forward>(options); });
}

}  // namespace rqat::cli
