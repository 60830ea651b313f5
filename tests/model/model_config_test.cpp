#include "rqat/model/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"

namespace rqat::model {
namespace {

using nlohmann::json;

json smollm2() {
  return json::parse(R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.04,
    "intermediate_size": 1536, "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 9,
    "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
    "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152})");
}

ModelConfig read(const json& config, const json& generation = nullptr) {
  const TemporaryFolder folder;
  base::write_file(folder.path() / "config.json", config.dump());
  if (!generation.is_null()) base::write_file(folder.path() / "generation_config.json", generation.dump());
  return read_model_config(folder.path());
}

TEST(ModelConfig, ReadsSmolLm2) {
  const ModelConfig config = read(smollm2());
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.intermediate_size, 1536);
  EXPECT_EQ(config.num_hidden_layers, 30);
  EXPECT_EQ(config.num_attention_heads, 9);
  EXPECT_EQ(config.num_key_value_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.max_position_embeddings, 8192);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.rope.theta, 100000);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(config.bos_token_id, 1);
}

TEST(ModelConfig, ReadsTheNewSpelling) {
  json config = smollm2();
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config.erase("torch_dtype");
  config["dtype"] = "bfloat16";
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  config["head_dim"] = 32;
  EXPECT_EQ(read(config).rope.theta, 5e5);
  EXPECT_EQ(read(config).head_dim, 32);
}

TEST(ModelConfig, Qwen3WithAnUnusedWindow) {
  json config = smollm2();
  config.update({{"model_type", "qwen3"},
                 {"head_dim", 128},
                 {"use_sliding_window", false},
                 {"sliding_window", 4096},
                 {"max_window_layers", 28},
                 {"num_hidden_layers", 2},
                 {"layer_types", {"full_attention", "full_attention"}}});
  EXPECT_EQ(read(config).head_dim, 128);
}

TEST(ModelConfig, DefaultsOfAbsentFields) {
  json config = smollm2();
  for (const char* field :
       {"num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id"}) {
    config.erase(field);
  }
  const ModelConfig read_config = read(config);
  EXPECT_EQ(read_config.num_key_value_heads, 9);
  EXPECT_EQ(read_config.rope.theta, 10000);
  EXPECT_EQ(read_config.rms_norm_eps, 1e-6);
  EXPECT_FALSE(read_config.tie_word_embeddings);
  EXPECT_TRUE(read_config.eos_token_ids.empty());
  EXPECT_EQ(read_config.bos_token_id, -1);
}

TEST(ModelConfig, GenerationConfigNamesTheEosTokensFirst) {
  EXPECT_EQ(read(smollm2(), {{"eos_token_id", {7, 9}}}).eos_token_ids, (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(read(smollm2(), {{"eos_token_id", 5}}).eos_token_ids, std::vector<int64_t>{5});
  EXPECT_EQ(read(smollm2(), json::object()).eos_token_ids, std::vector<int64_t>{2});
}

struct Fault {
  const char* patch;  ///< merged into the good config; null removes
  const char* message;
};

class ModelConfigFaults : public testing::TestWithParam<Fault> {};

TEST_P(ModelConfigFaults, AreNamed) {
  json config = smollm2();
  config.merge_patch(json::parse(GetParam().patch));
  try {
    read(config);
    FAIL() << "no error for " << GetParam().patch;
  } catch (const base::IoError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("config.json: "), std::string::npos) << text;
    EXPECT_NE(text.find(GetParam().message), std::string::npos) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelConfigFaults,
    testing::Values(
        Fault{R"({"model_type": null})", "model_type: missing"},
        Fault{R"({"model_type": "qwen4"})", "did you mean 'qwen"},
        Fault{R"({"model_type": 3})", "model_type: expected a text"},
        Fault{R"({"vocab_size": null})", "vocab_size: missing"},
        Fault{R"({"hidden_size": -1})", "hidden_size: expected an integer > 0 and at most 2147483648, got -1"},
        Fault{R"({"hidden_size": 18446744073709551615})", "hidden_size: expected an integer > 0"},
        Fault{R"({"vocab_size": 4294967296})", "vocab_size: expected an integer > 0 and at most 2147483648"},
        Fault{R"({"num_hidden_layers": 1000000000})", "num_hidden_layers: 1000000000 is more than 10000"},
        Fault{R"({"head_dim": 1000000})", "head_dim: 1000000 is more than 65536"},
        Fault{R"({"hidden_size": "576"})", "hidden_size: expected an integer"},
        Fault{R"({"hidden_size": 577})", "hidden_size: 577 is not a multiple"},
        Fault{R"({"num_key_value_heads": 2})", "num_key_value_heads: 2 does not divide"},
        Fault{R"({"head_dim": 63})", "head_dim: expected an even number"},
        Fault{R"({"rms_norm_eps": 0})", "rms_norm_eps: expected a number > 0"},
        Fault{R"({"tie_word_embeddings": 1})", "tie_word_embeddings: expected true or false"},
        Fault{R"({"hidden_act": "gelu"})", "hidden_act: activation 'gelu'"},
        Fault{R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor"},
        Fault{R"({"rope_scaling": {"rope_type": "llama3"}})", "rope_scaling: factor: missing"},
        Fault{R"({"rope_scaling": {"type": "linear"}})", "factor: missing"},
        Fault{R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                              "high_freq_factor": 4}})",
              "high_freq_factor: expected more than low_freq_factor 4"},
        Fault{R"({"rope_scaling": {"rope_type": "linear", "factor": 8, "mrope_section": [1]}})",
              "mrope_section: not a field of rope scaling 'linear'"},
        Fault{R"({"rope_scaling": {"rope_type": "longrope", "long_factor": [1]}})", "short_factor: missing"},
        Fault{R"({"rope_scaling": {"rope_type": "longrope", "short_factor": [1]}})", "long_factor: missing"},
        Fault{R"({"rope_parameters": {"rope_type": "dynamic", "factor": 2}})",
              "rope_parameters: rope_type: rope scaling 'dynamic' is not supported"},
        Fault{R"({"rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_theta": 1}}})",
              "differs by kind of layer is not supported for llama"},
        Fault{R"({"model_type": "gemma3_text",
                              "rope_parameters": {"full_attention": {"rope_theta": 9}, "chunked": {"rope_theta": 1}}})",
              "chunked: expected full_attention and sliding_attention"},
        Fault{R"({"model_type": "phi3", "partial_rotary_factor": 0.01})", "partial_rotary_factor: expected a part"},
        Fault{R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", "partial_rotary_factor"},
        Fault{R"({"rope_parameters": 3})", "expected a JSON object"},
        Fault{R"({"use_sliding_window": true})", "use_sliding_window"},
        Fault{R"({"sliding_window": 4096})", "sliding_window"},
        Fault{R"({"layer_types": ["full_attention", "sliding_attention"]})", "layer_types"},
        Fault{R"({"model_type": "gemma2", "layer_types": ["full_attention"]})",
              "layer_types: has 1 entries, expected 30"},
        Fault{R"({"model_type": "gemma2", "layer_types": ["chunked_attention"]})",
              "layer_types: 'chunked_attention' is not supported"},
        Fault{R"({"model_type": "gemma2", "layer_types": "all"})", "layer_types: expected a list, got"},
        Fault{R"({"model_type": "gemma2", "layer_types": [1]})", "layer_types: expected a list of texts"},
        Fault{R"({"model_type": "gemma2", "attn_logit_softcapping": -1})",
              "attn_logit_softcapping: expected a number > 0"},
        Fault{R"({"model_type": "gemma2", "use_bidirectional_attention": true})",
              "use_bidirectional_attention: true is not supported"},
        Fault{R"({"model_type": "smollm3", "no_rope_layers": [1, 0]})", "no_rope_layers: has 2 entries, expected 30"},
        Fault{R"({"model_type": "smollm3", "no_rope_layers": [true]})", "no_rope_layers: expected a list of integers"},
        Fault{R"({"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 5})",
              "num_experts_per_tok: 5 is more than num_experts 4"},
        Fault{R"({"model_type": "qwen3_moe", "output_router_logits": true})",
              "output_router_logits: true is not supported"},
        Fault{R"({"attention_dropout": 0.1})", "attention_dropout: dropout is not supported"},
        Fault{R"({"attention_dropout": "0"})", "attention_dropout: expected a number"},
        Fault{R"({"residual_multiplier": 0.22})",
              "residual_multiplier: not a field of 'llama' that rqat knows (value 0.22)"},
        Fault{R"({"quantization_config": {"bits": 4}})", "quantization_config"},
        Fault{R"({"eos_token_id": "</s>"})", "eos_token_id: expected a token id"}));

TEST(ModelConfig, MissingFileAndWrongKindAreIoErrors) {
  const TemporaryFolder folder;
  EXPECT_THROW(read_model_config(folder.path()), base::IoError);
  EXPECT_THROW(read(json::array()), base::IoError);
}

}  // namespace
}  // namespace rqat::model
