// Gemma 3, text models.
#include "families/gemma.h"

namespace rqat::model {
namespace {

class Gemma3Text : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    set_gemma_defaults(config);
    config.rope.theta = 1e6;
    config.local_rope = nn::RopeParameters{};
    config.sliding_window_pattern = 6;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_activation", "attention_bias",         "query_pre_attn_scalar",   "sliding_window",
            "layer_types",       "sliding_window_pattern", "final_logit_softcapping", "rope_local_base_freq"};
  }
  // attn_logit_softcapping is null in all files, a number is refused as unknown.
  std::vector<std::string> neutral_fields() const override { return {"hidden_act", "_sliding_window_pattern"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = gemma_options(config);
    options.qk_norm = QkNorm::kPerHead;
    set_windows(
        config, [](const ModelConfig& c, int64_t layer) { return (layer + 1) % c.sliding_window_pattern != 0; },
        options);
    return options;
  }
};

}  // namespace

FamilyEntry gemma3_text_entry() {
  return family_entry<Gemma3Text>("gemma3_text", "Gemma 3 text: two ropes, five of six layers with a window",
                                  "2503.19786");
}

}  // namespace rqat::model
