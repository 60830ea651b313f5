// OLMo 2: norms behind attention and MLP, and over whole queries and keys.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Olmo2 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override { config.rms_norm_eps = 1e-5; }
  std::vector<std::string> fields() const override { return {"hidden_act", "attention_bias"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.qk_norm = QkNorm::kWhole;
    options.norm_placement = NormPlacement::kAfter;
    options.norm_style.round_last = true;
    return options;
  }
};

}  // namespace

FamilyEntry olmo2_entry() {
  return family_entry<Olmo2>("olmo2", "OLMo 2: norms behind attention and MLP, and on q and k", "2501.00656");
}

}  // namespace rqat::model
