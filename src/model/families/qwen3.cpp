// Qwen3, dense models.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Qwen3 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.head_dim = 128;
    config.sliding_window = 4096;
    config.max_window_layers = 28;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_act", "attention_bias", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"};
  }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.qk_norm = QkNorm::kPerHead;
    if (!config.use_sliding_window) return options;
    set_windows(
        config, [](const ModelConfig& c, int64_t layer) { return layer >= c.max_window_layers; }, options);
    return options;
  }
};

}  // namespace

FamilyEntry qwen3_entry() { return family_entry<Qwen3>("qwen3", "Qwen3 dense: RMSNorm on q and k", "2505.09388"); }

}  // namespace rqat::model
