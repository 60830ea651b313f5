// Gemma 2.
#include "families/gemma.h"

namespace rqat::model {
namespace {

class Gemma2 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    set_gemma_defaults(config);
    config.attn_logit_softcapping = 50;
    config.final_logit_softcapping = 30;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_activation", "attention_bias",         "query_pre_attn_scalar",  "sliding_window",
            "layer_types",       "attn_logit_softcapping", "final_logit_softcapping"};
  }
  std::vector<std::string> neutral_fields() const override { return {"hidden_act"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = gemma_options(config);
    options.attention_softcap = config.attn_logit_softcapping;
    set_windows(
        config, [](const ModelConfig&, int64_t layer) { return layer % 2 == 0; }, options);
    return options;
  }
};

}  // namespace

FamilyEntry gemma2_entry() {
  return family_entry<Gemma2>("gemma2", "Gemma 2: four norms a block, capped scores and logits", "2408.00118");
}

}  // namespace rqat::model
