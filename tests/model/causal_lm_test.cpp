#include "rqat/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <stdexcept>

#include "model/plain_model.h"
#include "model/tiny_model.h"
#include "rqat/base/error.h"

namespace rqat::model {
namespace {

std::vector<int64_t> random_ids(int64_t count, int64_t vocabulary = 50) {
  const at::Tensor ids = at::randint(vocabulary, {count}, at::kLong);
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + count};
}

at::Tensor as_tensor(const std::vector<int64_t>& ids) { return at::tensor(ids, at::kLong); }

/// Tokens from..to of a sequence as a batch that continues a cache.
nn::TokenBatch piece(const std::vector<int64_t>& ids, int64_t from, int64_t to) {
  nn::TokenBatch batch = nn::make_token_batch({{ids.begin() + from, ids.begin() + to}});
  batch.positions += from;
  return batch;
}

struct Case {
  std::string model_type;
  bool tied;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.model_type << (c.tied ? " tied" : " untied");
}

class CausalLmFamilies : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, CausalLmFamilies,
                         testing::Values(Case{"llama", true}, Case{"llama", false}, Case{"qwen2", true},
                                         Case{"qwen3", false}));

TEST_P(CausalLmFamilies, HiddenLogitsAndAllGradientsAgreeWithPlainAutograd) {
  const ModelConfig config = tiny_config(GetParam().model_type, GetParam().tied);
  const io::TensorMap weights = random_weights(config);
  const auto model = tiny_model(config, weights);
  PlainModel plain(config, weights);
  const std::vector<std::vector<int64_t>> documents{random_ids(9), random_ids(5)};

  const at::Tensor hidden = model->hidden(nn::make_token_batch(documents));
  const at::Tensor expected = at::cat({plain.hidden(as_tensor(documents[0])), plain.hidden(as_tensor(documents[1]))});
  ASSERT_LT(max_difference(hidden, expected), 1e-5);
  const at::Tensor expected_logits =
      at::matmul(expected, plain.weight(config.tie_word_embeddings ? "model.embed_tokens" : "lm_head").t());
  EXPECT_LT(max_difference(model->logits(hidden), expected_logits), 1e-4);

  const at::Tensor d_hidden = at::randn(hidden.sizes());
  hidden.backward(d_hidden);
  expected.backward(d_hidden.to(at::kDouble));
  size_t compared = 0;
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->name == "lm_head.weight") continue;  // no loss is computed here: the objective adds this gradient
    const at::Tensor& gradient = plain.weights().at(parameter->name).grad();
    ASSERT_TRUE(parameter->grad.defined()) << parameter->name;
    EXPECT_LT(max_difference(parameter->grad, gradient), 1e-5 * (1 + gradient.abs().max().item<double>()))
        << parameter->name;
    ++compared;
  }
  EXPECT_EQ(compared, weights.size() - (GetParam().tied ? 0 : 1));
}

TEST_P(CausalLmFamilies, DecodingWithCacheEqualsFullForward) {
  const ModelConfig config = tiny_config(GetParam().model_type, GetParam().tied);
  const auto model = tiny_model(config, random_weights(config));
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> first = random_ids(12), second = random_ids(12);
  const at::Tensor full_first = model->hidden(nn::make_token_batch({first}));
  const at::Tensor full_second = model->hidden(nn::make_token_batch({second}));

  const auto cache = model->make_cache(3, 12);
  const nn::TokenBatch prompts =
      nn::make_token_batch({{first.begin(), first.begin() + 5}, {second.begin(), second.begin() + 3}});
  const at::Tensor prefilled = model->hidden(prompts, *cache, {2, 0});
  EXPECT_LT(max_difference(prefilled.slice(0, 0, 5), full_first.slice(0, 0, 5)), 1e-5);
  EXPECT_LT(max_difference(prefilled.slice(0, 5), full_second.slice(0, 0, 3)), 1e-5);
  for (int64_t step = 0; step < 7; ++step) {
    nn::TokenBatch batch = nn::make_token_batch({{first[5 + step]}, {second[3 + step]}});
    batch.positions = at::tensor({5 + step, 3 + step}, at::kLong);
    const at::Tensor hidden = model->hidden(batch, *cache, {2, 0});
    EXPECT_LT(max_difference(hidden[0], full_first[5 + step]), 1e-5);
    EXPECT_LT(max_difference(hidden[1], full_second[3 + step]), 1e-5);
  }
  EXPECT_EQ(cache->length(2), 12);
  EXPECT_EQ(cache->length(1), 0);
  EXPECT_THROW(model->hidden(piece({1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4}, 12, 13), *cache, {2}), base::DataError);
}

TEST(CausalLM, AppendingToACacheEqualsFullForward) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids = random_ids(14);
  const at::Tensor full = model->hidden(nn::make_token_batch({ids}));
  const auto cache = model->make_cache(2, 20);
  for (const auto& [from, to] : std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 9}, {9, 10}, {10, 14}}) {
    EXPECT_LT(max_difference(model->hidden(piece(ids, from, to), *cache, {1}), full.slice(0, from, to)), 1e-5) << from;
  }
}

TEST(CausalLM, AppendingToALongCacheEqualsFullForward) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids = random_ids(560);
  const at::Tensor full = model->hidden(nn::make_token_batch({ids}));
  const auto cache = model->make_cache(1, 560);
  for (const auto& [from, to] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 500}, {500, 512}, {512, 515}, {515, 560}}) {
    EXPECT_LT(max_difference(model->hidden(piece(ids, from, to), *cache, {0}), full.slice(0, from, to)), 1e-5) << from;
  }
}

TEST(CausalLM, NewPromptsAndRunningSequencesMayBeMixed) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const at::NoGradGuard no_grad;
  const std::vector<std::vector<int64_t>> sequences{random_ids(10), random_ids(540), random_ids(7), random_ids(9)};
  const std::vector<int64_t> held{9, 530, 0, 4}, slots{2, 0, 3, 1};  // a new token, a long run, a prompt, a short run
  const auto cache = model->make_cache(4, 560);
  nn::TokenBatch mixed;
  std::vector<at::Tensor> ids, positions, expected;
  int64_t begin = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto size = static_cast<int64_t>(sequences[i].size());
    if (held[i] > 0) model->hidden(piece(sequences[i], 0, held[i]), *cache, {slots[i]});
    const nn::TokenBatch rest = piece(sequences[i], held[i], size);
    ids.push_back(rest.ids);
    positions.push_back(rest.positions);
    mixed.segments.push_back({begin, begin + size - held[i], -1});
    begin += size - held[i];
    expected.push_back(model->hidden(nn::make_token_batch({sequences[i]})).slice(0, held[i]));
  }
  mixed.ids = at::cat(ids);
  mixed.positions = at::cat(positions);
  EXPECT_LT(max_difference(model->hidden(mixed, *cache, slots), at::cat(expected)), 1e-5);
}

TEST(CausalLM, CopiedSlotContinuesLikeItsOrigin) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const std::vector<int64_t> ids = random_ids(6);
  const auto cache = model->make_cache(2, 8);
  model->hidden(piece(ids, 0, 5), *cache, {0});
  cache->copy_slot(0, 1);
  EXPECT_TRUE(model->hidden(piece(ids, 5, 6), *cache, {1}).equal(model->hidden(piece(ids, 5, 6), *cache, {0})));
}

TEST(CausalLM, Bf16DecodingStaysNearFullForward) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()), at::kBFloat16);
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids = random_ids(10);
  const at::Tensor full = model->hidden(nn::make_token_batch({ids}));
  EXPECT_EQ(full.scalar_type(), at::kBFloat16);
  const auto cache = model->make_cache(1, 10);
  model->hidden(piece(ids, 0, 4), *cache, {0});
  for (int64_t t = 4; t < 10; ++t) {
    const at::Tensor hidden = model->hidden(piece(ids, t, t + 1), *cache, {0});
    EXPECT_LT(max_difference(hidden[0], full[t]), 0.05 * full.abs().max().item<double>());
  }
}

TEST(CausalLM, SharedPrefixEqualsSeparateSequences) {
  const ModelConfig config = tiny_config("qwen3", true);
  const io::TensorMap weights = random_weights(config);
  const std::vector<int64_t> prompt = random_ids(6), a = random_ids(4), b = random_ids(3);
  const at::Tensor d_a = at::randn({4, 32}), d_b = at::randn({3, 32});

  const auto shared = tiny_model(config, weights);
  nn::TokenBatch batch = nn::make_token_batch({prompt, a, b});
  batch.segments[1].parent = batch.segments[2].parent = 0;
  batch.positions = at::cat({at::arange(6), at::arange(6, 10), at::arange(6, 9)});
  const at::Tensor hidden = shared->hidden(batch);
  hidden.backward(at::cat({at::zeros({6, 32}), d_a, d_b}));

  const auto separate = tiny_model(config, weights);
  const auto joined = [](std::vector<int64_t> x, const std::vector<int64_t>& y) {
    x.insert(x.end(), y.begin(), y.end());
    return x;
  };
  const at::Tensor full_a = separate->hidden(nn::make_token_batch({joined(prompt, a)}));
  const at::Tensor full_b = separate->hidden(nn::make_token_batch({joined(prompt, b)}));
  EXPECT_LT(max_difference(hidden.slice(0, 6, 10), full_a.slice(0, 6)), 1e-5);
  EXPECT_LT(max_difference(hidden.slice(0, 10), full_b.slice(0, 6)), 1e-5);
  full_a.backward(at::cat({at::zeros({6, 32}), d_a}));
  full_b.backward(at::cat({at::zeros({6, 32}), d_b}));
  const auto p = shared->parameters(), q = separate->parameters();
  ASSERT_EQ(p.size(), q.size());
  for (size_t i = 0; i < p.size(); ++i) {
    EXPECT_LT(max_difference(p[i]->grad, q[i]->grad), 1e-5 * (1 + q[i]->grad.abs().max().item<double>())) << p[i]->name;
  }
}

TEST(CausalLM, FrozenParametersGetNoGradient) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  for (nn::Parameter* parameter : model->parameters())
    parameter->trainable = parameter->name == "model.layers.0.mlp.up_proj.weight";
  model->prepare_training();
  model->hidden(nn::make_token_batch({random_ids(5)})).sum().backward();
  int with_gradient = 0;
  for (nn::Parameter* parameter : model->parameters()) {
    EXPECT_EQ(parameter->grad.defined(), parameter->trainable) << parameter->name;
    EXPECT_EQ(parameter->master.defined(), parameter->trainable) << parameter->name;
    with_gradient += parameter->grad.defined();
  }
  EXPECT_EQ(with_gradient, 1);
  model->zero_grad();
  EXPECT_EQ(model->linears()[5]->parameters()[0]->grad.abs().sum().item<float>(), 0.0f);
}

TEST(CausalLM, WalkingBlockByBlockEqualsHidden) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const at::NoGradGuard no_grad;
  const nn::TokenBatch batch = nn::make_token_batch({random_ids(7), random_ids(2)});
  const ForwardContext context = model->context(batch);
  at::Tensor hidden = model->embed(batch);
  const at::Tensor embedded = hidden.clone();
  ASSERT_EQ(model->num_blocks(), 2);
  for (int64_t index = 0; index < 2; ++index) {
    const at::Tensor before = hidden.clone();
    const at::Tensor after = model->forward_block(index, hidden, context);
    EXPECT_TRUE(hidden.equal(before)) << "the input was written to";
    hidden = after;
  }
  EXPECT_TRUE(model->final_norm(hidden).equal(model->hidden(batch)));
  EXPECT_FALSE(embedded.equal(hidden));
}

TEST(CausalLM, LinearsAndParametersComeInOrder) {
  const auto model = tiny_model(tiny_config("llama", false), random_weights(tiny_config("llama", false)));
  std::string names;
  for (nn::LinearBase* linear : model->block_linears(1)) names += linear->name().substr(15) + " ";
  EXPECT_EQ(
      names,
      "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj mlp.gate_proj mlp.up_proj mlp.down_proj ");
  EXPECT_EQ(model->linears().size(), 14u);
  EXPECT_EQ(model->parameters().size(), 2u + 1 + 4 + 14);
  EXPECT_EQ(&model->head(), model->parameters()[6]);
  EXPECT_NE(&model->head(), &model->embedding());
  EXPECT_EQ(model->weight_bytes(), 4 * 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48));
  const auto tied = tiny_model(tiny_config(), random_weights(tiny_config()));
  EXPECT_EQ(&tied->head(), &tied->embedding());
}

TEST(CausalLM, HeadForLogitsFollowsTraining) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = tiny_model(tiny_config(), random_weights(tiny_config()), dtype);
    const at::Tensor rows = at::randn({3, 32}).to(dtype);
    model->logits(rows);
    model->prepare_training();
    model->embedding().master.mul_(2);
    model->refresh();
    const at::Tensor expected = at::matmul(rows.to(at::kFloat), model->embedding().compute.to(at::kFloat).t());
    EXPECT_LT(max_difference(model->logits(rows), expected), 1e-4);
    model->embedding().compute = at::ones_like(model->embedding().compute);
    EXPECT_LT(max_difference(model->logits(rows)[0], rows[0].to(at::kFloat).sum().expand({50})), 1e-4);
  }
}

TEST(CausalLM, FrozenTensorsThatAreEqualAreShared) {
  for (const bool tied : {true, false}) {
    const ModelConfig config = tiny_config("llama", tied);
    io::TensorMap weights = random_weights(config);
    const auto teacher = tiny_model(config, weights, at::kBFloat16);
    weights["model.layers.1.input_layernorm.weight"] += 1;
    const auto student = tiny_model(config, weights, at::kBFloat16);
    const at::Tensor rows = at::randn({3, 32}).to(at::kBFloat16), before = student->logits(rows);
    for (nn::Parameter* parameter : student->parameters())
      parameter->trainable = parameter->role != nn::Role::kEmbedding && parameter->role != nn::Role::kHead &&
                             parameter->name != "model.layers.1.input_layernorm.weight";
    student->share_frozen(*teacher);

    const nn::ParameterList theirs = teacher->parameters(), ours = student->parameters();
    for (size_t i = 0; i < ours.size(); ++i) {
      const bool expected = !ours[i]->trainable && ours[i]->role != nn::Role::kNorm;  // the norm differs
      EXPECT_EQ(ours[i]->compute.is_alias_of(theirs[i]->compute), expected) << ours[i]->name;
    }
    EXPECT_TRUE(student->prepared_head().plain.is_alias_of(teacher->prepared_head().plain));
    EXPECT_TRUE(student->logits(rows).equal(before));
    student->prepare_training();
    student->refresh();
    EXPECT_TRUE(student->logits(rows).equal(before));
  }
}

/// Doubles the activations at one point.
class Doubling : public nn::ActivationTransform {
 public:
  explicit Doubling(std::vector<int64_t>* shape) : shape_(shape) {}
  at::Tensor apply(const at::Tensor& x) override {
    *shape_ = x.sizes().vec();
    return x * 2;
  }

 private:
  std::vector<int64_t>* shape_;
};

class DoublingFactory : public nn::FloatLayerFactory {
 public:
  explicit DoublingFactory(std::string point) : point_(std::move(point)) {}
  std::shared_ptr<nn::ActivationTransform> activation(const std::string& point) override {
    return point == point_ ? std::make_shared<Doubling>(&shape) : nullptr;
  }
  std::vector<int64_t> shape;

 private:
  std::string point_;
};

TEST(CausalLM, TransformsActAtTheirPoints) {
  const ModelConfig config = tiny_config();
  const io::TensorMap weights = random_weights(config);
  const nn::TokenBatch batch = nn::make_token_batch({random_ids(6)});
  const std::string block = "model.layers.1.";
  const auto doubled = [&](const std::vector<std::string>& linears) {  // the same effect by weights
    io::TensorMap changed = weights;
    for (const std::string& linear : linears)
      changed[block + linear + ".weight"] = weights.at(block + linear + ".weight") * 2;
    return tiny_model(config, changed)->hidden(batch);
  };
  struct Expectation {
    std::string point;
    std::vector<std::string> linears;
    std::vector<int64_t> shape;
  };
  for (const auto& [point, linears, shape] : std::vector<Expectation>{
           {"attention_input", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {6, 32}},
           {"query", {"self_attn.q_proj"}, {6, 4, 8}},
           {"key", {"self_attn.k_proj"}, {6, 2, 8}},
           {"output_input", {"self_attn.o_proj"}, {6, 32}},
           {"mlp_input", {"mlp.gate_proj", "mlp.up_proj"}, {6, 32}},
           {"down_input", {"mlp.down_proj"}, {6, 48}}}) {
    DoublingFactory factory(block + point);
    CausalLM model(config, factory, at::kFloat, at::kCPU);
    load(model, weights);
    EXPECT_LT(max_difference(model.hidden(batch), doubled(linears)), 1e-5) << point;
    EXPECT_EQ(factory.shape, shape) << point;
  }
}

TEST(CausalLM, PackedExecutionRefusesGradients) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const nn::TokenBatch batch = nn::make_token_batch({random_ids(4)});
  model->set_execution(nn::Execution::kPacked);
  EXPECT_THROW(model->hidden(batch), std::logic_error);
  const at::NoGradGuard no_grad;
  EXPECT_NO_THROW(model->hidden(batch));
}

TEST(CausalLM, CacheCallIsChecked) {
  const auto model = tiny_model(tiny_config(), random_weights(tiny_config()));
  const auto cache = model->make_cache(2, 8);
  const nn::TokenBatch two = nn::make_token_batch({{1, 2}, {3}});
  EXPECT_THROW(model->hidden(two, *cache, {0}), std::invalid_argument);
  EXPECT_THROW(model->hidden(two, *cache, {1, 1}), std::invalid_argument);
  EXPECT_THROW(model->hidden(two, *cache, {0, 2}), std::invalid_argument);
  nn::TokenBatch child = two;
  child.segments[1].parent = 0;
  EXPECT_THROW(model->hidden(child, *cache, {0, 1}), std::invalid_argument);
  model->hidden(two, *cache, {0, 1});
  EXPECT_THROW(model->hidden(two, *cache, {0, 1}), std::invalid_argument);  // positions start at 0 again
}

TEST(CausalLM, SizesAreChecked) {
  nn::FloatLayerFactory factory;
  const auto refused = [&](const auto& spoil, at::ScalarType dtype = at::kFloat) {
    ModelConfig config = tiny_config();
    spoil(config);
    EXPECT_THROW(CausalLM(config, factory, dtype, at::kMeta), base::ConfigError);
  };
  refused([](ModelConfig& c) { c.vocab_size = 0; });
  refused([](ModelConfig& c) { c.num_key_value_heads = 3; });
  refused([](ModelConfig& c) { c.head_dim = 7; });
  refused([](ModelConfig& c) { c.model_type = "gpt9"; });
  refused([](ModelConfig&) {}, at::kHalf);
}

TEST(CausalLM, LargeStructureOnTheMetaDeviceIsCheap) {
  ModelConfig config = tiny_config("qwen3", false);
  config.vocab_size = 151936;
  config.hidden_size = 4096;
  config.intermediate_size = 12288;
  config.num_hidden_layers = 36;
  config.num_attention_heads = 32;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  nn::FloatLayerFactory factory;
  const auto start = std::chrono::steady_clock::now();
  CausalLM model(config, factory, at::kBFloat16, at::kMeta);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 1.0);
  int64_t parameters = 0;
  for (nn::LinearBase* linear : model.linears()) parameters += linear->spec().in_features * linear->spec().out_features;
  EXPECT_EQ(parameters, 6945767424);  // Qwen3-8B without embeddings and norms
}

TEST(Families, OptionsFollowTheConfig) {
  ModelConfig config = tiny_config();
  EXPECT_FALSE(families().make("llama")->options(config).qkv_bias);
  EXPECT_TRUE(families().make("qwen2")->options(config).qkv_bias);
  EXPECT_EQ(families().make("qwen3")->options(config).qk_norm, QkNorm::kPerHead);
  config.attention_bias = true;
  EXPECT_TRUE(families().make("llama")->options(config).output_bias);
  EXPECT_TRUE(families().make("qwen3")->options(config).qkv_bias);
  EXPECT_FALSE(families().make("qwen2")->options(config).output_bias);
}

}  // namespace
}  // namespace rqat::model
