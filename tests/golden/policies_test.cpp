// Which layer gets which format, for some policies on the three families.
#include <ATen/ATen.h>

#include "golden/golden.h"
#include "rqat/base/fields.h"
#include "rqat/base/strings.h"
#include "rqat/model/causal_lm.h"
#include "rqat/quant/policy.h"

namespace rqat::golden {
namespace {

using base::cat;

constexpr const char* kPolicies[] = {
    "{num_bits: 2, group_size: 64}",
    "{num_bits: 4, symmetric: true, group_size: -1, scale_dtype: bfloat16}",
    "{num_bits: 3, group_size: 128, overrides: {\"*.down_proj\": {num_bits: 4, group_size: 32}, \"model.layers.0.*\": "
    "none}}",
    "{num_bits: 2, group_size: 64, overrides: {\"*.self_attn.*\": {num_bits: 4}, \"*.o_proj\": none, "
    "\"*.1.self_attn.o_proj\": {num_bits: 8}}}",
};

model::ModelConfig two_blocks(const std::string& family) {
  model::ModelConfig config;
  config.model_type = family;
  config.vocab_size = 300;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  return config;
}

TEST(Golden, FormatsOfLayers) {
  std::string text;
  for (const std::string yaml : kPolicies) {
    quant::QuantPolicy policy;
    base::Faults faults;
    base::read_config(policy, base::Node::parse(yaml, "policy"), "quant", faults);
    faults.raise("policy");
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
      quant::QuantLayerFactory factory(policy, base::Component("ste"));
      model::CausalLM model(two_blocks(family), factory, at::kFloat, at::kMeta);
      text += cat(family, " ", yaml, "\n");
      for (nn::LinearBase* linear : model.linears()) {
        const auto format = policy.format_for(linear->spec().name);
        const std::string bits =
            format ? base::format_fixed(format->bits_per_weight(linear->spec().in_features), 3) : "";
        text += cat("  ", linear->spec().name, " ",
                    format ? cat(format->text(), " ", format->scale_dtype, " ", bits) : "float", "\n");
      }
    }
  }
  expect_golden("policy_formats.txt", text);
}

}  // namespace
}  // namespace rqat::golden
