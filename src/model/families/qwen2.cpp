// Qwen2 and Qwen2.5, and DeepSeek-R1 distillations of them.
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Qwen2 : public Family {
 public:
  // q, k and v always have a bias; the config has no field for it.
  DecoderOptions options(const ModelConfig&) const override { return {.qkv_bias = true}; }
};

}  // namespace

FamilyEntry qwen2_entry() { return family_entry<Qwen2>("qwen2", "Qwen2 and Qwen2.5: bias on q, k, v", "2407.10671"); }

}  // namespace rqat::model
