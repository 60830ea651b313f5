// Qwen3, mixtures of experts.
#include <algorithm>

#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Qwen3Moe : public Family {
 public:
  void set_defaults(ModelConfig& config) const override {
    config.sliding_window = 4096;
    config.num_experts = 128;
    config.num_experts_per_tok = 8;
    config.moe_intermediate_size = 768;
  }
  std::vector<std::string> fields() const override {
    return {"hidden_act",          "attention_bias",    "use_sliding_window",  "sliding_window",
            "num_experts",         "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
            "decoder_sparse_step", "norm_topk_prob",    "mlp_only_layers"};
  }
  // The router's auxiliary loss is added only when output_router_logits asks for it, which is refused.
  std::vector<std::string> neutral_fields() const override { return {"max_window_layers", "router_aux_loss_coef"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.qk_norm = QkNorm::kPerHead;
    options.experts = {config.num_experts, config.num_experts_per_tok, config.moe_intermediate_size,
                       config.norm_topk_prob};
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      LayerOptions& here = options.layers[static_cast<size_t>(layer)];
      if (config.use_sliding_window) here.window = config.sliding_window;
      const auto& dense = config.mlp_only_layers;
      here.experts = config.num_experts > 0 && (layer + 1) % config.decoder_sparse_step == 0 &&
                     std::find(dense.begin(), dense.end(), layer) == dense.end();
    }
    return options;
  }
};

}  // namespace

FamilyEntry qwen3_moe_entry() {
  return family_entry<Qwen3Moe>("qwen3_moe", "Qwen3 mixtures of experts: experts quantized, router in float",
                                "2505.09388");
}

}  // namespace rqat::model
