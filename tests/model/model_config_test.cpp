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
  EXPECT_EQ(config.rope_theta, 100000);
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
  EXPECT_EQ(read(config).rope_theta, 5e5);
  EXPECT_EQ(read(config).head_dim, 32);
}

TEST(ModelConfig, Qwen3WithAnUnusedWindow) {
  json config = smollm2();
  config.update({{"model_type", "qwen3"},
                 {"head_dim", 128},
                 {"use_sliding_window", false},
                 {"sliding_window", 4096},
                 {"max_window_layers", 28},
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
  EXPECT_EQ(read_config.rope_theta, 10000);
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
    testing::Values(Fault{R"({"model_type": null})", "model_type: missing"},
                    Fault{R"({"model_type": "qwen4"})", "did you mean 'qwen"},
                    Fault{R"({"model_type": 3})", "model_type: expected a text"},
                    Fault{R"({"vocab_size": null})", "vocab_size: missing"},
                    Fault{R"({"hidden_size": -1})", "hidden_size: expected an integer > 0, got -1"},
                    Fault{R"({"hidden_size": "576"})", "hidden_size: expected an integer"},
                    Fault{R"({"hidden_size": 577})", "hidden_size: 577 is not a multiple"},
                    Fault{R"({"num_key_value_heads": 2})", "num_key_value_heads: 2 does not divide"},
                    Fault{R"({"head_dim": 63})", "head_dim: expected an even number"},
                    Fault{R"({"rms_norm_eps": 0})", "rms_norm_eps: expected a number > 0"},
                    Fault{R"({"tie_word_embeddings": 1})", "tie_word_embeddings: expected true or false"},
                    Fault{R"({"hidden_act": "gelu"})", "hidden_act: activation 'gelu'"},
                    Fault{R"({"mlp_bias": true})", "mlp_bias"},
                    Fault{R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor"},
                    Fault{R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})",
                          "rope_type: rope scaling 'llama3'"},
                    Fault{R"({"rope_scaling": {"type": "linear", "factor": 8}})", "rope scaling 'linear'"},
                    Fault{R"({"rope_parameters": {"rope_type": "yarn"}})", "rope_parameters: rope_type"},
                    Fault{R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", "partial_rotary_factor"},
                    Fault{R"({"rope_parameters": 3})", "expected a JSON object"},
                    Fault{R"({"use_sliding_window": true})", "use_sliding_window"},
                    Fault{R"({"sliding_window": 4096})", "sliding_window"},
                    Fault{R"({"layer_types": ["full_attention", "sliding_attention"]})", "layer_types"},
                    Fault{R"({"quantization_config": {"bits": 4}})", "quantization_config"},
                    Fault{R"({"eos_token_id": "</s>"})", "eos_token_id: expected a token id"}));

TEST(ModelConfig, MissingFileAndWrongKindAreIoErrors) {
  const TemporaryFolder folder;
  EXPECT_THROW(read_model_config(folder.path()), base::IoError);
  EXPECT_THROW(read(json::array()), base::IoError);
}

}  // namespace
}  // namespace rqat::model
