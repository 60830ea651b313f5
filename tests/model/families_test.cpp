// What holds for every entry of the registry; how each computes is judged by tests/interop/test_families.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"

namespace rqat::model {
namespace {

using nlohmann::json;

/// Fields of config.json beyond the sizes; windows are shorter than the sequences of these tests.
const std::map<std::string, const char*>& cases() {
  static const std::map<std::string, const char*> cases{
      {"llama", R"({"rope_parameters": {"rope_type": "llama3", "factor": 4, "low_freq_factor": 1,
                    "high_freq_factor": 4, "original_max_position_embeddings": 8}})"},
      {"qwen2", R"({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1})"},
      {"qwen3", R"({"head_dim": 16})"},
      {"qwen3_moe", R"({"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
                        "decoder_sparse_step": 2})"},
      {"smollm3", R"({"no_rope_layer_interval": 2})"},
      {"mistral", R"({"sliding_window": 4})"},
      {"olmo2", "{}"},
      {"olmo3", R"({"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]})"},
      {"phi3", R"({"partial_rotary_factor": 0.5, "sliding_window": 6, "rope_scaling": {"rope_type": "longrope",
                   "short_factor": [1, 2], "long_factor": [3, 4]}, "original_max_position_embeddings": 12})"},
      {"gemma2", R"({"head_dim": 16, "sliding_window": 4, "attn_logit_softcapping": 2.0,
                     "final_logit_softcapping": 3.0})"},
      {"gemma3_text", R"({"head_dim": 16, "sliding_window": 4, "sliding_window_pattern": 2})"}};
  return cases;
}

ModelConfig config_of(const std::string& family) {
  json config = json::parse(R"({"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64})");
  config["model_type"] = family;
  config.merge_patch(json::parse(cases().at(family)));
  const TemporaryFolder folder;
  base::write_file(folder.path() / "config.json", config.dump());
  return read_model_config(folder.path());
}

io::TensorMap weights_of(const ModelConfig& config) {
  nn::FloatLayerFactory factory;
  at::manual_seed(3);
  io::TensorMap weights;
  for (const auto& [name, shape] : CausalLM(config, factory, at::kFloat, at::kMeta).weight_shapes()) {
    weights[name] = at::randn(shape) * 0.3 + (shape.size() == 1 ? 0.7 : 0.0);
  }
  return weights;
}

std::vector<int64_t> random_ids(int64_t count) {
  const at::Tensor ids = at::randint(50, {count}, at::kLong);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + count};
}

class EveryFamily : public testing::TestWithParam<std::string> {
 protected:
  ModelConfig config_ = config_of(GetParam());
  io::TensorMap weights_ = weights_of(config_);
};

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

TEST_P(EveryFamily, WeightsComeBackUnderTheirNames) {
  const io::TensorMap held = tiny_model(config_, weights_)->weights();
  ASSERT_EQ(held.size(), weights_.size());
  for (const auto& [name, tensor] : weights_) EXPECT_TRUE(held.at(name).equal(tensor)) << name;
}

TEST_P(EveryFamily, EveryParameterIsPartOfTheOutput) {
  const auto model = tiny_model(config_, weights_);
  const at::Tensor hidden = model->hidden(nn::make_token_batch({random_ids(30)}));
  hidden.backward(at::randn(hidden.sizes()));
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter == &model->head() && parameter != &model->embedding()) continue;  // no loss is computed here
    ASSERT_TRUE(parameter->grad.defined()) << parameter->name;
    EXPECT_GT(parameter->grad.abs().max().item<double>(), 0.0) << parameter->name;
  }
}

TEST_P(EveryFamily, GradientCheckpointingChangesNoBitOfOutputAndGradients) {
  const auto plain = tiny_model(config_, weights_), checkpointed = tiny_model(config_, weights_);
  checkpointed->set_gradient_checkpointing(true);
  at::Tensor direction;
  std::vector<std::pair<CausalLM*, std::vector<int64_t>>> finished{{plain.get(), {}}, {checkpointed.get(), {}}};
  std::vector<at::Tensor> outputs;
  const std::vector<int64_t> ids = random_ids(30);
  for (auto& [model, blocks] : finished) {
    model->set_block_backward_observer([&blocks = blocks](int64_t index) { blocks.push_back(index); });
    // The batch is gone when the backward begins.
    const at::Tensor hidden = model->hidden(nn::make_token_batch({ids}));
    if (!direction.defined()) direction = at::randn(hidden.sizes());
    hidden.backward(direction);
    outputs.push_back(hidden.detach());
  }
  EXPECT_TRUE(outputs[0].equal(outputs[1]));
  EXPECT_EQ(finished[0].second, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(finished[1].second, finished[0].second);
  const nn::ParameterList wanted = plain->parameters(), actual = checkpointed->parameters();
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]->grad.defined()) continue;
    ASSERT_TRUE(actual[i]->grad.defined()) << wanted[i]->name;
    EXPECT_TRUE(wanted[i]->grad.equal(actual[i]->grad)) << wanted[i]->name;
  }
}

TEST_P(EveryFamily, SharedPrefixEqualsSeparateSequences) {
  const auto model = tiny_model(config_, weights_);
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> prompt = random_ids(7), a = random_ids(3), b = random_ids(4);
  nn::TokenBatch batch = nn::make_token_batch({prompt, a, b});
  batch.segments[1].parent = batch.segments[2].parent = 0;
  batch.positions = at::cat({at::arange(7), at::arange(7, 10), at::arange(7, 11)});
  const at::Tensor hidden = model->hidden(batch);
  const auto joined = [&](const std::vector<int64_t>& end) {
    std::vector<int64_t> all = prompt;
    all.insert(all.end(), end.begin(), end.end());
    return model->hidden(nn::make_token_batch({all}));
  };
  EXPECT_LT(max_difference(hidden.slice(0, 7, 10), joined(a).slice(0, 7)), 1e-4);
  EXPECT_LT(max_difference(hidden.slice(0, 10), joined(b).slice(0, 7)), 1e-4);
}

TEST_P(EveryFamily, DecodingWithCacheEqualsFullForward) {
  const auto model = tiny_model(config_, weights_);
  const at::NoGradGuard no_grad;
  for (const int64_t length : {11, 20}) {  // on either side of Phi's original length
    const std::vector<int64_t> ids = random_ids(length);
    const at::Tensor full = model->hidden(nn::make_token_batch({ids}));
    const auto cache = model->make_cache(2, length);
    for (int64_t begin = 0, count = 6; begin < length; begin += count, count = begin < 9 ? 3 : 1) {
      const int64_t end = std::min(length, begin + count);
      nn::TokenBatch batch = nn::make_token_batch({{ids.begin() + begin, ids.begin() + end}});
      batch.positions += begin;
      EXPECT_LT(max_difference(model->hidden(batch, *cache, {1}), full.slice(0, begin, end)), 1e-4) << begin;
    }
  }
}

TEST(Phi3, FusedTensorsAreCheckedWhole) {
  const ModelConfig config = config_of("phi3");
  io::TensorMap weights = weights_of(config);
  weights["model.layers.1.self_attn.qkv_proj.weight"] = at::zeros({65, 32});
  try {
    tiny_model(config, weights);
    FAIL();
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("qkv_proj.weight' is [65, 32], expected [64, 32]"), std::string::npos)
        << error.what();
  }
}

TEST(Phi3, LengthDecidesWhichFactorsTurnASequence) {
  const ModelConfig config = config_of("phi3");
  const auto model = tiny_model(config, weights_of(config));
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids = random_ids(13), same(ids.begin(), ids.begin() + 12);
  const at::Tensor longer = model->hidden(nn::make_token_batch({ids})).slice(0, 0, 12);
  const at::Tensor within = model->hidden(nn::make_token_batch({same}));
  EXPECT_GT(max_difference(longer, within), 1e-3);
  // Side by side each keeps its own.
  const at::Tensor both = model->hidden(nn::make_token_batch({same, ids}));
  EXPECT_LT(max_difference(both.slice(0, 0, 12), within), 1e-5);
  EXPECT_LT(max_difference(both.slice(0, 12, 24), longer), 1e-5);
  // A cache with room for more is one of long sequences from its first token on.
  const auto cache = model->make_cache(1, 13);
  EXPECT_LT(max_difference(model->hidden(nn::make_token_batch({same}), *cache, {0}), longer), 1e-5);
}

TEST(Experts, TheRouterIsAParameterOfItsOwnRole) {
  const ModelConfig config = config_of("qwen3_moe");
  const auto model = tiny_model(config, weights_of(config));
  int routers = 0;
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->role != nn::Role::kRouter) continue;
    ++routers;
    EXPECT_EQ(parameter->name, "model.layers.1.mlp.gate.weight");
    EXPECT_EQ(parameter->compute.sizes(), (at::IntArrayRef{4, 32}));
  }
  EXPECT_EQ(routers, 1);
  EXPECT_EQ(model->block_linears(0).size(), 7u);
  const auto linears = model->block_linears(1);
  ASSERT_EQ(linears.size(), 4u + 4 * 3);
  EXPECT_EQ(linears[4]->name(), "model.layers.1.mlp.experts.0.gate_proj");
  EXPECT_EQ(linears[15]->name(), "model.layers.1.mlp.experts.3.down_proj");
}

}  // namespace
}  // namespace rqat::model
