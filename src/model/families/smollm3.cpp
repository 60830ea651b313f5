// SmolLM3: Llama with layers that know no positions.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class SmolLm3 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.tie_word_embeddings = true;
    config.rope.theta = 2e6;
    config.no_rope_layer_interval = 4;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_act",     "attention_bias", "mlp_bias",       "use_sliding_window",
            "sliding_window", "layer_types",    "no_rope_layers", "no_rope_layer_interval"};
  }
  std::vector<std::string> neutral_fields() const override { return {"max_window_layers"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.mlp_bias = config.mlp_bias;
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      if (!has_rope(config, layer)) options.layers[static_cast<size_t>(layer)].rope = -1;
    }
    if (config.use_sliding_window) {
      set_windows(
          config, [](const ModelConfig& c, int64_t layer) { return !has_rope(c, layer); }, options);
    }
    return options;
  }

 private:
  static bool has_rope(const ModelConfig& config, int64_t layer) {
    if (!config.no_rope_layers.empty()) return config.no_rope_layers.at(static_cast<size_t>(layer)) != 0;
    return config.no_rope_layer_interval == 0 || (layer + 1) % config.no_rope_layer_interval != 0;
  }
};

}  // namespace

FamilyEntry smollm3_entry() {
  return family_entry<SmolLm3>("smollm3", "SmolLM3: every fourth layer without rope", "2501.18795");
}

}  // namespace rqat::model
