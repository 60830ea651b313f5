// Gemma 2.
#include <cmath>

#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Gemma2 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.tie_word_embeddings = true;
    config.hidden_act = "gelu_pytorch_tanh";
    config.head_dim = 256;
    config.query_pre_attn_scalar = 256;
    config.sliding_window = 4096;
    config.attn_logit_softcapping = 50;
    config.final_logit_softcapping = 30;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_activation", "attention_bias",         "query_pre_attn_scalar",  "sliding_window",
            "layer_types",       "attn_logit_softcapping", "final_logit_softcapping"};
  }
  // hidden_activation is what counts.
  std::vector<std::string> neutral_fields() const override { return {"hidden_act"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.norm_placement = NormPlacement::kBoth;
    options.norm_style = {1, true};
    options.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
    options.attention_scale = 1 / std::sqrt(config.query_pre_attn_scalar);
    options.attention_softcap = config.attn_logit_softcapping;
    options.logit_softcap = config.final_logit_softcapping;
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
