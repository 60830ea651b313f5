// config.json as published, one of each family: it is read without a complaint, and the structure has the published
// number of parameters.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "model/tiny_model.h"
#include "rqat/base/files.h"

namespace rqat::model {
namespace {

using nlohmann::json;

struct Published {
  const char* name;
  const char* config;
  int64_t parameters;
  std::function<void(const DecoderOptions&)> check;
};

void expect_every(const DecoderOptions& options, size_t period, int64_t usual, int64_t last) {
  for (size_t i = 0; i < options.layers.size(); ++i) {
    EXPECT_EQ(options.layers[i].window, (i + 1) % period == 0 ? last : usual) << "layer " << i;
  }
}

class PublishedConfigs : public testing::TestWithParam<Published> {};

TEST_P(PublishedConfigs, AreReadAndHaveTheirNumberOfParameters) {
  const TemporaryFolder folder;
  base::write_file(folder.path() / "config.json", GetParam().config);
  nn::FloatLayerFactory factory;
  CausalLM model(read_model_config(folder.path()), factory, at::kBFloat16, at::kMeta);
  int64_t parameters = 0;
  for (const auto& [name, shape] : model.weight_shapes()) parameters += c10::multiply_integers(shape);
  EXPECT_EQ(parameters, GetParam().parameters);
  GetParam().check(model.options());
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedConfigs,
    testing::Values(
        Published{"Llama-3.1-8B", R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
          "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
          "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
          "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
          "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
          "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
          "use_cache": true, "vocab_size": 128256})",
                  8030261248,
                  [](const DecoderOptions& o) {
                    EXPECT_EQ(o.ropes.at(0).scaling, nn::RopeScaling::kLlama3);
                    EXPECT_EQ(o.ropes[0].original_length, 8192);
                  }},
        Published{"DeepSeek-R1-Distill-Qwen-1.5B", R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
          "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536,
          "initializer_range": 0.02, "intermediate_size": 8960, "max_position_embeddings": 131072,
          "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28,
          "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096,
          "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": true,
          "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936})",
                  1777088000, [](const DecoderOptions& o) { expect_every(o, 1, 0, 0); }},
        Published{"Qwen3-30B-A3B", R"({"architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645,
          "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
          "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
          "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
          "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
          "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000.0,
          "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
          "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936})",
                  30532122624, [](const DecoderOptions& o) { EXPECT_TRUE(o.experts.normalize); }},
        Published{"SmolLM3-3B", R"({"architectures": ["SmolLM3ForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "bos_token_id": null, "eos_token_id": 128012, "hidden_act": "silu",
          "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 65536,
          "max_window_layers": 28, "mlp_bias": false, "model_type": "smollm3", "no_rope_layer_interval": 4,
          "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 4, "pad_token_id": 128004,
          "pretraining_tp": 2, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 5000000.0,
          "sliding_window": null, "torch_dtype": "bfloat16", "use_cache": false, "use_sliding_window": false,
          "vocab_size": 128256})",
                  3075098624,
                  [](const DecoderOptions& o) {
                    for (size_t i = 0; i < 36; ++i) EXPECT_EQ(o.layers[i].rope, i % 4 == 3 ? -1 : 0) << i;
                  }},
        Published{"Mistral-7B-v0.1", R"({"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
          "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
          "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
          "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
          "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true,
          "vocab_size": 32000})",
                  7241732096, [](const DecoderOptions& o) { expect_every(o, 1, 4096, 4096); }},
        Published{"OLMo-2-1124-7B", R"({"architectures": ["Olmo2ForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 4096,
          "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
          "model_type": "olmo2", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
          "pad_token_id": 100277, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 500000,
          "tie_word_embeddings": false, "torch_dtype": "float32", "use_cache": false, "vocab_size": 100352})",
                  7298617344, [](const DecoderOptions& o) { EXPECT_EQ(o.norm_placement, NormPlacement::kAfter); }},
        Published{"Olmo-3-7B-Think", R"({"architectures": ["Olmo3ForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 4096,
          "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 65536,
          "model_type": "olmo3", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
          "pad_token_id": 100277, "rms_norm_eps": 1e-06, "rope_scaling": {"attention_factor": 1.2079441541679836,
          "beta_fast": 32, "beta_slow": 1, "factor": 8.0, "original_max_position_embeddings": 8192,
          "rope_type": "yarn"}, "rope_theta": 500000, "sliding_window": 4096, "tie_word_embeddings": false,
          "torch_dtype": "bfloat16", "use_cache": false, "vocab_size": 100278})",
                  7298011136,
                  [](const DecoderOptions& o) {
                    expect_every(o, 4, 4096, 0);
                    EXPECT_EQ(o.ropes.at(0).scaling, nn::RopeScaling::kYarn);
                    EXPECT_EQ(o.ropes.at(1).scaling, nn::RopeScaling::kNone);
                    EXPECT_EQ(o.ropes[1].theta, 500000);
                    EXPECT_EQ(o.layers[2].rope, 1);
                    EXPECT_EQ(o.layers[3].rope, 0);
                  }},
        Published{"Phi-3-mini-4k-instruct", R"({"_name_or_path": "Phi-3-mini-4k-instruct",
          "architectures": ["Phi3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
          "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "bos_token_id": 1, "embd_pdrop": 0.0,
          "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02,
          "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "phi3", "num_attention_heads": 32,
          "num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096,
          "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": null,
          "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
          "use_cache": true, "vocab_size": 32064})",
                  3821079552, [](const DecoderOptions& o) { expect_every(o, 1, 2047, 2047); }},
        Published{"gemma-2-2b", R"({"architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "bos_token_id": 2,
          "cache_implementation": "hybrid", "eos_token_id": 1, "final_logit_softcapping": 30.0, "head_dim": 256,
          "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304,
          "initializer_range": 0.02, "intermediate_size": 9216, "max_position_embeddings": 8192,
          "model_type": "gemma2", "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
          "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
          "sliding_window": 4096, "torch_dtype": "float32", "use_cache": true, "vocab_size": 256000})",
                  2614341888,
                  [](const DecoderOptions& o) {
                    expect_every(o, 2, 4096, 0);
                    EXPECT_EQ(o.attention_scale, 1.0 / 16);
                    EXPECT_EQ(o.attention_softcap, 50);
                    EXPECT_EQ(o.logit_softcap, 30);
                    EXPECT_EQ(o.embedding_scale, 48);
                  }},
        Published{"gemma-3-1b-it", R"({"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "attn_logit_softcapping": null, "bos_token_id": 2,
          "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": null,
          "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02,
          "intermediate_size": 6912, "max_position_embeddings": 32768, "model_type": "gemma3_text",
          "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0,
          "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000, "rope_scaling": null,
          "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
          "use_cache": true, "vocab_size": 262144})",
                  999885952,
                  [](const DecoderOptions& o) {
                    expect_every(o, 6, 512, 0);
                    EXPECT_EQ(o.ropes.at(0).theta, 1e6);
                    EXPECT_EQ(o.ropes.at(1).theta, 1e4);
                    EXPECT_EQ(o.layers[4].rope, 1);
                    EXPECT_EQ(o.layers[5].rope, 0);
                    EXPECT_EQ(o.logit_softcap, 0);
                  }}),
    [](const auto& info) {
      std::string name = info.param.name;
      for (char& c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      }
      return name;
    });

/// Phi-4-mini-reasoning, whose 96 factors are left to a loop.
TEST(PublishedConfigs, PhiFourMini) {
  json config = json::parse(R"({"architectures": ["Phi3ForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "bos_token_id": 199999, "embd_pdrop": 0.0, "eos_token_id": 199999, "full_attn_mod": 1,
    "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02, "intermediate_size": 8192,
    "interpolate_factor": 1, "lm_head_bias": false, "max_position_embeddings": 131072, "mlp_bias": false,
    "model_type": "phi3", "num_attention_heads": 24, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "original_max_position_embeddings": 4096, "pad_token_id": 199999, "partial_rotary_factor": 0.75,
    "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 262144,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 200064})");
  config["rope_scaling"] = {{"type", "longrope"},
                            {"short_factor", std::vector<double>(48, 1.0)},
                            {"long_factor", std::vector<double>(48, 2.0)}};
  const TemporaryFolder folder;
  base::write_file(folder.path() / "config.json", config.dump());
  nn::FloatLayerFactory factory;
  CausalLM model(read_model_config(folder.path()), factory, at::kBFloat16, at::kMeta);
  const auto shapes = model.weight_shapes();
  int64_t parameters = 0;
  for (const auto& [name, shape] : shapes) parameters += c10::multiply_integers(shape);
  EXPECT_EQ(parameters, 3836021760);
  EXPECT_EQ(shapes.at("model.layers.7.self_attn.qkv_proj.weight"), (std::vector<int64_t>{3072 + 2 * 1024, 3072}));
  EXPECT_EQ(shapes.at("model.layers.7.mlp.gate_up_proj.weight"), (std::vector<int64_t>{2 * 8192, 3072}));
  EXPECT_EQ(shapes.count("model.layers.7.self_attn.q_proj.weight"), 0u);
  EXPECT_EQ(model.options().ropes.at(0).original_length, 4096);
  EXPECT_EQ(model.options().ropes[0].rotated_part, 0.75);
}

}  // namespace
}  // namespace rqat::model
