// Llama 2 and 3, DeepSeek-R1 distillations of them, SmolLM2, and others that call themselves "llama".
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Llama : public Family {
 public:
  std::vector<std::string> fields() const override { return {"hidden_act", "attention_bias", "mlp_bias"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    options.qkv_bias = options.output_bias = config.attention_bias;
    options.mlp_bias = config.mlp_bias;
    return options;
  }
};

}  // namespace

FamilyEntry llama_entry() { return family_entry<Llama>("llama", "Llama architecture (SmolLM2 too)", "2302.13971"); }

}  // namespace rqat::model
