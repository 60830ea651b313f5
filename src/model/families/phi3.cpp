// Phi-3, Phi-3.5 and Phi-4-mini: Llama with q, k, v and gate, up fused in the file, partial rope and LongRoPE.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Phi3 : public Family {
 public:
  void set_defaults(ModelConfig& config) const override { config.rms_norm_eps = 1e-5; }
  std::vector<std::string> fields() const override {
    return {"hidden_act", "sliding_window", "partial_rotary_factor", "original_max_position_embeddings"};
  }
  // Of the published Phi-4-mini files; no forward reads them.
  std::vector<std::string> neutral_fields() const override { return {"interpolate_factor", "full_attn_mod"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    for (LayerOptions& layer : options.layers) layer.window = config.sliding_window;
    options.fused = {{"self_attn.qkv_proj", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
                     {"mlp.gate_up_proj", {"mlp.gate_proj", "mlp.up_proj"}}};
    return options;
  }
};

}  // namespace

FamilyEntry phi3_entry() {
  return family_entry<Phi3>("phi3", "Phi-3 and Phi-4-mini: fused projections, LongRoPE", "2404.14219");
}

}  // namespace rqat::model
