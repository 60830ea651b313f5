// Llama 2 and 3 (without rope scaling), SmolLM2, and others that call themselves "llama".
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Llama : public Family {
 public:
  DecoderOptions options(const ModelConfig& config) const override {
    return {.qkv_bias = config.attention_bias, .output_bias = config.attention_bias};
  }
};

}  // namespace

FamilyEntry llama_entry() { return family_entry<Llama>("llama", "Llama architecture (SmolLM2 too)", "2302.13971"); }

}  // namespace rqat::model
