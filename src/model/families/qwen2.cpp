// Qwen2 and Qwen2.5, and DeepSeek-R1 distillations of them.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Qwen2 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.sliding_window = 4096;
    config.max_window_layers = 28;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_act", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"};
  }
  // q, k and v always have a bias; files that say so say nothing new.
  std::vector<std::string> neutral_fields() const override { return {"attention_bias"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = true;
    if (!config.use_sliding_window) return options;
    set_windows(
        config, [](const ModelConfig& c, int64_t layer) { return layer >= c.max_window_layers; }, options);
    return options;
  }
};

}  // namespace

FamilyEntry qwen2_entry() { return family_entry<Qwen2>("qwen2", "Qwen2 and Qwen2.5: bias on q, k, v", "2407.10671"); }

}  // namespace rqat::model
