// OLMo 3: OLMo 2 with a sliding window in three of four layers; rope is scaled in the others only.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Olmo3 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.rms_norm_eps = 1e-5;
    config.rope.theta = 5e5;
    config.local_rope = nn::RopeParameters{};
    config.local_rope->theta = 0;  // that of the other layers
    config.sliding_window = 4096;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_act", "attention_bias", "sliding_window", "layer_types"};
  }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.qk_norm = QkNorm::kWhole;
    options.norm_placement = NormPlacement::kAfter;
    options.norm_style.round_last = true;
    set_windows(
        config, [](const ModelConfig&, int64_t layer) { return (layer + 1) % 4 != 0; }, options);
    return options;
  }
};

}  // namespace

FamilyEntry olmo3_entry() {
  return family_entry<Olmo3>("olmo3", "OLMo 3: sliding window in three of four layers", "2512.13961");
}

}  // namespace rqat::model
