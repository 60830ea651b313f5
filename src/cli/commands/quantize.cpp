#include <iostream>

#include "one_stage.h"
#include "rqat/base/files.h"
#include "rqat/cli/command.h"
#include "rqat/data/dataset.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/ptq/initializer.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct QuantizeOptions : base::Config {
  std::string model, out, device = "auto";
  base::Component initializer{"rtn"};
  quant::QuantFormat format;
  std::vector<std::string> generators, settings;
  std::string file;
  int64_t num_samples = 128, seed = 42;
  bool overwrite = false;

  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "full-precision model: folder or GGUF file");
    v.required("model");
    v.field("out", out, "folder to write");
    v.required("out");
    v.component("initializer", initializer, ptq::initializers(),
                "how scales and codes are found (`rqat list initializers`)");
    format.fields(v);
    v.field("generators", generators, "calibration data: task families (`rqat list tasks`)");
    v.field("file", file, "calibration data: file of records instead of generators; of each its first 1024 tokens");
    v.field("num_samples", num_samples, "calibration examples", base::Range{1, 1e6});
    v.field("seed", seed, "of the calibration data", base::non_negative());
    v.field("settings", settings, "further settings of the stage, like initializer.gptq.act_order=true");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
    v.field("overwrite", overwrite, "replace a model folder that stands there");
  }

  std::vector<std::string> check() const override {
    std::vector<std::string> faults = format.check();
    if (!generators.empty() && !file.empty()) faults.emplace_back("give --generators or --file, not both");
    const bool calibrated = !generators.empty() || !file.empty();
    if (ptq::initializers().make(initializer)->needs_calibration() && !calibrated) {
      faults.push_back(base::cat("--initializer ", initializer.name,
                                 " looks at activations: name calibration data with --generators or --file"));
    }
    return faults;
  }
};

class Quantize : public Command {
 public:
  explicit Quantize(QuantizeOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Quantizes the linears of a model without training and writes a model folder: W_hat in model.safetensors, "
        "codes and "
        "scales in rqat_state.safetensors. Embeddings and the output head stay in float. The result can be evaluated, "
        "trained "
        "further by a recipe, or exported. Per-layer choices need a recipe (`quant:` with overrides).",
        {"rqat quantize --model models/smollm2-135m-instruct --out runs/w4 --num-bits 4 --group-size 64",
         "rqat quantize --model models/smollm2-135m-instruct --out runs/w3 --initializer gptq --num-bits 3 "
         "--group-size 64 "
         "--generators one_step_word,chain_sums"},
        {"settings"}};
  }

  void run() override {
    require_free(options_.out, options_.overwrite, {options_.model});
    const ScratchFolder scratch;
    run_one_stage(recipe(as_model_folder(options_.model, scratch)), "quantize", options_.out, options_.device);
    std::cout << options_.out << ": " << options_.format.text() << " by " << options_.initializer.name << ", "
              << base::format_bytes(base::folder_bytes(options_.out)) << "\n";
  }

 private:
  base::Node recipe(const std::filesystem::path& model) {
    base::Node stage = map_node({{"id", text_node("quantized")},
                                 {"type", text_node("quantize")},
                                 {"model", text_node("model")},
                                 {"quant", text_node("format")},
                                 {"initializer", text_node(options_.initializer.name)}});
    base::Node tree = map_node({{"name", text_node("quantize")},
                                {"seed", number_node(options_.seed)},
                                {"models", map_node({{"model", map_node({{"path", text_node(model.string())}})}})},
                                {"quant", map_node({{"format", base::write_config(options_.format)}})}});
    if (!options_.generators.empty() || !options_.file.empty()) {
      data::DataConfig data;
      data.generators = options_.generators;
      data.file = options_.file;
      data.num_examples = options_.num_samples;
      // Only inputs are wanted, so that the beginning of a long example is as good as a whole one.
      data.too_long = "truncate";
      data.loss_on = "all";
      tree.set("data", map_node({{"calibration", base::write_config(data)}}));
      stage.set("calibration",
                map_node({{"data", text_node("calibration")}, {"num_samples", number_node(options_.num_samples)}}));
    }
    tree.set("stages", base::Node::list({stage}));
    for (const std::string& setting : options_.settings) {
      pipeline::apply_override(tree, base::cat("stages.quantized.", setting));
    }
    return tree;
  }

  QuantizeOptions options_;
};

}  // namespace

base::Entry<Command> quantize_entry() {
  return base::make_entry<base::Entry<Command>, QuantizeOptions>(
      "quantize", "quantize one model without training: RTN, GPTQ", "",
      [](const QuantizeOptions& options) { return std::make_unique<Quantize>(options); });
}

}  // namespace rqat::cli
