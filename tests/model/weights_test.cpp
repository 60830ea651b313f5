#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/model/forward.h"

namespace rqat::model {
namespace {

/// What load_weights says about spoilt weights.
template <class Error, class Spoil>
std::string load_error(const Spoil& spoil, at::ScalarType dtype = at::kFloat) {
  io::TensorMap weights = random_weights(tiny_config());
  spoil(weights);
  try {
    tiny_model(tiny_config(), weights, dtype);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

const char* const kName = "model.layers.1.mlp.up_proj.weight";

void expect_text(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' not in: " << text;
}

TEST(LoadWeights, NamesMissingAndUnexpectedTensors) {
  expect_text(load_error<base::IoError>([](io::TensorMap& w) { w.erase(kName); }), {"missing 1", kName, "of 2 layers"});
  expect_text(load_error<base::IoError>([](io::TensorMap& w) { w["model.layers.2.extra.weight"] = at::ones({1}); }),
              {"unexpected 1", "model.layers.2.extra.weight"});
  expect_text(load_error<base::IoError>([](io::TensorMap& w) {
                w.clear();
                w["x"] = at::ones({1});
              }),
              {"missing 20", "...", "unexpected 1 (x)"});
}

TEST(LoadWeights, NamesWrongShapesAndDtypes) {
  expect_text(load_error<base::IoError>([](io::TensorMap& w) {
                w[kName] = at::ones({32, 48});
              }),
              {kName, "[32, 48]", "[48, 32]"});
  expect_text(load_error<base::IoError>([](io::TensorMap& w) { w["model.norm.weight"] = at::ones({31}); }),
              {"model.norm.weight"});
  expect_text(load_error<base::IoError>([](io::TensorMap& w) {
                w[kName] = at::ones({48, 32}, at::kInt);
              }),
              {kName, "Int", "float"});
}

TEST(LoadWeights, FindsNanAndInf) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    expect_text(load_error<base::DataError>(
                    [](io::TensorMap& w) { w[kName][2][5] = std::numeric_limits<float>::quiet_NaN(); }, dtype),
                {kName, "1 NaN or Inf of 1536", "index 69"});
    expect_text(load_error<base::DataError>([](io::TensorMap& w) { w["model.norm.weight"][31] = -INFINITY; }, dtype),
                {"model.norm.weight", "index 31"});
  }
}

TEST(LoadWeights, IgnoresHarmlessExtras) {
  EXPECT_EQ(load_error<base::Error>([](io::TensorMap& w) {
              w["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::ones({4});
              w["model.rotary_emb.inv_freq"] = at::ones({4});
              w["lm_head.weight"] = at::ones({50, 32});
            }),
            "no error");
}

TEST(LoadWeights, ConvertsToTheComputeDtype) {
  io::TensorMap weights = random_weights(tiny_config());
  weights[kName] = weights[kName].to(at::kHalf);
  const auto model = tiny_model(tiny_config(), weights, at::kBFloat16);
  for (const auto& [name, tensor] : model->weights()) {
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
    EXPECT_TRUE(tensor.equal(weights.at(name).to(at::kBFloat16))) << name;
  }
  EXPECT_EQ(model->weights().size(), weights.size());
}

TEST(LoadWeights, BiasesAndNormsOfOtherFamiliesComeBack) {
  for (const char* family : {"qwen2", "qwen3"}) {
    const ModelConfig config = tiny_config(family, false);
    const io::TensorMap weights = random_weights(config), held = tiny_model(config, weights)->weights();
    ASSERT_EQ(held.size(), weights.size()) << family;
    for (const auto& [name, tensor] : weights) EXPECT_TRUE(held.at(name).equal(tensor)) << name;
  }
}

TEST(LoadModel, ReadsAFolder) {
  const TemporaryFolder folder;
  const io::TensorMap weights = random_weights(tiny_config());
  io::write_safetensors(folder.path() / "model.safetensors", weights);
  base::write_file(folder.path() / "config.json", R"({"model_type": "llama", "vocab_size": 50, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
  nn::FloatLayerFactory factory;
  const auto model = load_model(folder.path(), factory, at::kFloat, at::kCPU);
  const std::vector<std::vector<int64_t>> ids{{1, 2, 3}, {4, 5, 6}};
  const at::Tensor logits = forward_logits(*model, ids);
  EXPECT_EQ(logits.sizes(), (at::IntArrayRef{2, 3, 50}));
  EXPECT_TRUE(logits.equal(forward_logits(*tiny_model(tiny_config(), weights), ids)));
}

TEST(ForwardLogits, RowsAreIndependentSequences) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const at::Tensor both = forward_logits(*model, {{1, 2, 3}, {4, 5, 6}});
  EXPECT_LT(max_difference(both[1], forward_logits(*model, {{4, 5, 6}})[0]), 1e-5);
  EXPECT_GT(max_difference(both[0], both[1]), 1e-2);
}

TEST(ForwardLogits, RefusesUnequalLengthsAndForeignIds) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  EXPECT_THROW(forward_logits(*model, {}), base::DataError);
  EXPECT_THROW(forward_logits(*model, {{1, 2}, {3}}), base::DataError);
  EXPECT_THROW(forward_logits(*model, {{1, 50}}), base::DataError);
}

}  // namespace
}  // namespace rqat::model
