// Qwen3, dense models.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Qwen3 : public Family {
 public:
  DecoderOptions options(const ModelConfig& config) const override {
    return {.qkv_bias = config.attention_bias, .output_bias = config.attention_bias, .qk_norm = true};
  }
};

}  // namespace

FamilyEntry qwen3_entry() { return family_entry<Qwen3>("qwen3", "Qwen3 dense: RMSNorm on q and k", "2505.09388"); }

}  // namespace rqat::model
