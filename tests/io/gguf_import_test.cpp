#include "rqat/io/gguf_import.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "io/corruption.h"
#include "io/gguf_builder.h"
#include "rqat/base/files.h"
#include "rqat/io/gguf.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"

namespace rqat::io {
namespace {

using nlohmann::json;

constexpr int64_t kHidden = 8, kIntermediate = 12, kHeads = 2, kKvHeads = 1, kHeadDim = 4, kVocabulary = 7, kLayers = 2;
constexpr const char* kTemplate = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}";

/// A tiny model; what a test wants to be different is left out by name and then added by hand.
struct ModelFile {
  std::string architecture = "llama", pre = "smollm";
  bool has_output = false;
  std::set<std::string> left_out;
  GgufBuilder builder;

  bool keeps(const std::string& name) const { return left_out.count(name) == 0; }
  void integer(const std::string& key, uint32_t value) {
    if (keeps(key)) builder.integer(key, value);
  }
  /// Values count up from `first`, so that every row is its own.
  void tensor(const std::string& name, std::vector<int64_t> shape, float first = 0) {
    if (!keeps(name)) return;
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::string data;
    for (int64_t i = 0; i < count; ++i) data += GgufBuilder::bytes_of(first + static_cast<float>(i));
    builder.tensor(name, shape, 0, data);
  }

  void metadata() {
    const std::string a = architecture + ".";
    builder.text("general.architecture", architecture);
    integer(a + "block_count", kLayers);
    integer(a + "context_length", 64);
    integer(a + "embedding_length", kHidden);
    integer(a + "feed_forward_length", kIntermediate);
    integer(a + "attention.head_count", kHeads);
    integer(a + "attention.head_count_kv", kKvHeads);
    if (keeps(a + "eps")) builder.number(a + "attention.layer_norm_rms_epsilon", 1e-6f);
    builder.number(a + "rope.freq_base", 1000000.0f);
  }

  void tokenizer() {
    if (keeps("model")) builder.text("tokenizer.ggml.model", "gpt2");
    if (keeps("pre")) builder.text("tokenizer.ggml.pre", pre);
    if (keeps("tokens")) {
      builder.texts("tokenizer.ggml.tokens", {"<|endoftext|>", "<|im_end|>", "a", "b", "ab", "<think>", "[PAD6]"});
    }
    if (keeps("types")) builder.integers("tokenizer.ggml.token_type", {3, 3, 1, 1, 1, 4, 5});
    if (keeps("merges")) builder.texts("tokenizer.ggml.merges", {"a b"});
    integer("tokenizer.ggml.bos_token_id", 0);
    integer("tokenizer.ggml.eos_token_id", 0);
    if (keeps("template")) builder.text("tokenizer.chat_template", kTemplate);
  }

  void tensors() {
    tensor("token_embd.weight", {kVocabulary, kHidden});
    tensor("output_norm.weight", {kHidden});
    if (has_output) tensor("output.weight", {kVocabulary, kHidden}, 5);
    for (int64_t layer = 0; layer < kLayers; ++layer) block("blk." + std::to_string(layer) + ".");
  }

  void block(const std::string& p) {
    tensor(p + "attn_norm.weight", {kHidden});
    tensor(p + "ffn_norm.weight", {kHidden});
    tensor(p + "attn_q.weight", {kHeads * kHeadDim, kHidden});
    tensor(p + "attn_k.weight", {kKvHeads * kHeadDim, kHidden});
    tensor(p + "attn_v.weight", {kKvHeads * kHeadDim, kHidden});
    tensor(p + "attn_output.weight", {kHidden, kHeads * kHeadDim});
    tensor(p + "ffn_gate.weight", {kIntermediate, kHidden});
    tensor(p + "ffn_up.weight", {kIntermediate, kHidden});
    tensor(p + "ffn_down.weight", {kHidden, kIntermediate});
    if (architecture == "qwen2") {
      tensor(p + "attn_q.bias", {kHeads * kHeadDim});
      tensor(p + "attn_k.bias", {kKvHeads * kHeadDim});
      tensor(p + "attn_v.bias", {kKvHeads * kHeadDim});
    }
    if (architecture == "qwen3") {
      tensor(p + "attn_q_norm.weight", {kHeadDim});
      tensor(p + "attn_k_norm.weight", {kHeadDim});
    }
  }

  std::string build() {
    metadata();
    tokenizer();
    tensors();
    return builder.build();
  }
};

class GgufImportTest : public ::testing::Test {
 protected:
  void import(ModelFile file, const std::string& dtype = "float32") {
    write_plain(gguf_, file.build());
    import_gguf(gguf_, folder_ / "hf", dtype);
  }
  void expect_error(const std::string& part, ModelFile file) {
    RQAT_EXPECT_IO_ERROR(import(file), part);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "hf")) << "a failed import leaves no folder";
  }
  GgufReader reader(ModelFile file) {
    write_plain(gguf_, file.build());
    return GgufReader(gguf_);
  }
  TemporaryFolder folder_;
  std::filesystem::path gguf_ = folder_ / "model.gguf";
};

TEST_F(GgufImportTest, ConfigHoldsWhatTransformersReads) {
  ModelFile file;
  file.has_output = true;
  import(file, "bfloat16");
  const json expected = {{"architectures", json::array({"LlamaForCausalLM"})},
                         {"model_type", "llama"},
                         {"torch_dtype", "bfloat16"},
                         {"hidden_size", kHidden},
                         {"intermediate_size", kIntermediate},
                         {"num_hidden_layers", kLayers},
                         {"num_attention_heads", kHeads},
                         {"num_key_value_heads", kKvHeads},
                         {"head_dim", kHeadDim},
                         {"vocab_size", kVocabulary},
                         {"max_position_embeddings", 64},
                         {"rms_norm_eps", 1e-6},
                         {"rope_theta", 1e6},
                         {"rope_scaling", nullptr},
                         {"tie_word_embeddings", false},
                         {"hidden_act", "silu"},
                         {"attention_bias", false},
                         {"attention_dropout", 0.0},
                         {"mlp_bias", false},
                         {"initializer_range", 0.02},
                         {"use_cache", true},
                         {"bos_token_id", 0},
                         {"eos_token_id", 0}};
  EXPECT_EQ(read_json(folder_ / "hf/config.json"), expected);
  const json generation = read_json(folder_ / "hf/generation_config.json");
  EXPECT_EQ(generation["eos_token_id"], json::array({0, 1})) << "<|im_end|> ends a ChatML turn";
  EXPECT_EQ(base::read_file(folder_ / "hf/chat_template.jinja"), kTemplate);
  const TensorSource source(folder_ / "hf");
  EXPECT_EQ(source.names().size(), 3u + 9u * kLayers);
  EXPECT_EQ(source.info("lm_head.weight").dtype, at::kBFloat16);
}

TEST_F(GgufImportTest, TiedEmbeddingsHaveNoHead) {
  ModelFile file;
  file.left_out = {"template"};
  import(file, "float16");
  EXPECT_TRUE(read_json(folder_ / "hf/config.json")["tie_word_embeddings"].get<bool>());
  EXPECT_FALSE(TensorSource(folder_ / "hf").has("lm_head.weight"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "hf/chat_template.jinja"));
  EXPECT_EQ(read_json(folder_ / "hf/generation_config.json")["eos_token_id"], 0);
}

TEST_F(GgufImportTest, LlamaHeadsGetTheirHalvesBack) {
  import(ModelFile());
  const TensorSource source(folder_ / "hf");
  const at::Tensor q = source.read("model.layers.1.self_attn.q_proj.weight");
  // llama.cpp's row of (head, pair, half) is HF's (head, half, pair); the first value of its row r is r * hidden.
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t pair = 0; pair < kHeadDim / 2; ++pair) {
        const int64_t row_hf = head * kHeadDim + half * kHeadDim / 2 + pair;
        const int64_t row_gguf = head * kHeadDim + pair * 2 + half;
        EXPECT_EQ(q[row_hf][3].item<float>(), static_cast<float>(row_gguf * kHidden + 3));
      }
    }
  }
  const at::Tensor k = source.read("model.layers.0.self_attn.k_proj.weight").select(1, 0) / kHidden;
  EXPECT_TRUE(k.equal(at::tensor({0.0f, 2.0f, 1.0f, 3.0f})));
  const at::Tensor v = source.read("model.layers.0.self_attn.v_proj.weight").select(1, 0) / kHidden;
  EXPECT_TRUE(v.equal(at::arange(kHeadDim, at::kFloat)));
}

TEST_F(GgufImportTest, LlamaMayHaveAttentionBiases) {
  ModelFile file;
  for (const char* layer : {"blk.0.", "blk.1."}) {
    file.tensor(layer + std::string("attn_q.bias"), {kHeads * kHeadDim});
    file.tensor(layer + std::string("attn_k.bias"), {kKvHeads * kHeadDim});
    file.tensor(layer + std::string("attn_v.bias"), {kKvHeads * kHeadDim});
    file.tensor(layer + std::string("attn_output.bias"), {kHidden});
  }
  import(file);
  EXPECT_TRUE(read_json(folder_ / "hf/config.json")["attention_bias"].get<bool>());
  const TensorSource source(folder_ / "hf");
  EXPECT_TRUE(source.has("model.layers.1.self_attn.o_proj.bias"));
  const at::Tensor k = source.read("model.layers.0.self_attn.k_proj.bias");
  EXPECT_TRUE(k.equal(at::tensor({0.0f, 2.0f, 1.0f, 3.0f}))) << "biases are in the order of their rows";
}

TEST_F(GgufImportTest, QwenRowsStay) {
  for (const char* architecture : {"qwen2", "qwen3"}) {
    ModelFile file;
    file.architecture = architecture;
    file.pre = "qwen2";
    import(file);
    const TensorSource source(folder_ / "hf");
    const at::Tensor q = source.read("model.layers.0.self_attn.q_proj.weight");
    EXPECT_TRUE(q.flatten().equal(at::arange(q.numel(), at::kFloat)));
    EXPECT_EQ(source.has("model.layers.1.self_attn.k_proj.bias"), file.architecture == "qwen2");
    EXPECT_EQ(source.has("model.layers.1.self_attn.k_norm.weight"), file.architecture == "qwen3");
    EXPECT_EQ(read_json(folder_ / "hf/config.json")["model_type"], architecture);
  }
}

TEST_F(GgufImportTest, TokenizerFollowsTheSchema) {
  const json tokenizer = gguf_tokenizer_json(reader(ModelFile()));
  const json vocabulary = {{"<|endoftext|>", 0}, {"<|im_end|>", 1}, {"a", 2}, {"b", 3}, {"ab", 4}, {"<think>", 5}};
  EXPECT_EQ(tokenizer["model"]["vocab"], vocabulary) << "unused tokens stay out";
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["a", "b"]])"));
  ASSERT_EQ(tokenizer["added_tokens"].size(), 3u);
  EXPECT_TRUE(tokenizer["added_tokens"][1]["special"].get<bool>());
  EXPECT_EQ(tokenizer["added_tokens"][2]["content"], "<think>");
  EXPECT_FALSE(tokenizer["added_tokens"][2]["special"].get<bool>()) << "user-defined tokens are no control tokens";
  EXPECT_EQ(tokenizer["post_processor"], nullptr);
  const json config = gguf_tokenizer_config(reader(ModelFile()));
  EXPECT_EQ(config["eos_token"], "<|endoftext|>");
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_EQ(config["chat_template"], kTemplate);
  EXPECT_EQ(config["added_tokens_decoder"]["5"]["content"], "<think>");
  EXPECT_FALSE(config.contains("pad_token"));
}

TEST_F(GgufImportTest, PreTokenizersDiffer) {
  const auto tokenizer_of = [&](const char* pre) {
    ModelFile file;
    file.pre = pre;
    return gguf_tokenizer_json(reader(file));
  };
  EXPECT_EQ(tokenizer_of("gpt-2")["pre_tokenizer"]["type"], "ByteLevel");
  EXPECT_EQ(tokenizer_of("smollm")["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
  const json qwen = tokenizer_of("qwen2");
  EXPECT_EQ(qwen["normalizer"]["type"], "NFC");
  const auto regex = qwen["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get<std::string>();
  EXPECT_NE(regex.find("|\\p{N}| ?"), std::string::npos) << regex;
  const json llama = tokenizer_of("llama-bpe");
  EXPECT_TRUE(llama["model"]["ignore_merges"].get<bool>());
  const json& bos = llama["post_processor"]["processors"][1];
  EXPECT_EQ(bos["single"], json::parse(R"([{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                                           {"Sequence": {"id": "A", "type_id": 0}}])"));
  EXPECT_EQ(bos["special_tokens"]["<|endoftext|>"]["ids"], json::array({0}));
}

TEST_F(GgufImportTest, AddBosTokenIsHonored) {
  ModelFile file;
  file.builder.boolean("tokenizer.ggml.add_bos_token", true);
  EXPECT_EQ(gguf_tokenizer_json(reader(file))["post_processor"]["type"], "TemplateProcessing");
  ModelFile without;
  without.pre = "llama-bpe";
  without.builder.boolean("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(gguf_tokenizer_json(reader(without))["post_processor"]["type"], "ByteLevel");
}

TEST_F(GgufImportTest, FaultsOfTheModelAreNamed) {
  const auto replaced = [](const std::string& key, uint32_t value) {
    ModelFile file;
    file.left_out = {key};
    file.builder.integer(key, value);
    return file;
  };
  const auto without = [](const std::string& name) {
    ModelFile file;
    file.left_out = {name};
    return file;
  };
  ModelFile other;
  other.architecture = "mamba";
  expect_error("architecture 'mamba' is not supported (one of gemma2, gemma3, llama, olmo2, phi3", other);
  expect_error("has no metadata key 'llama.embedding_length'", without("llama.embedding_length"));
  expect_error("has no metadata key 'llama.attention.layer_norm_rms_epsilon'", without("llama.eps"));
  expect_error("'llama.attention.head_count' is 0, expected 1..", replaced("llama.attention.head_count", 0));
  expect_error("embedding_length 8 is not divisible by attention.head_count 3",
               replaced("llama.attention.head_count", 3));
  expect_error("head_count 2 is not divisible by head_count_kv 4", replaced("llama.attention.head_count_kv", 4));
  expect_error("head size 3 is odd", replaced("llama.attention.key_length", 3));
  expect_error("llama.rope.dimension_count is 2, only the head size 4", replaced("llama.rope.dimension_count", 2));
  expect_error("has no tensor 'token_embd.weight'", without("token_embd.weight"));
  expect_error("has no tensor 'blk.1.ffn_up.weight'", without("blk.1.ffn_up.weight"));
  expect_error("has no tensor 'blk.2.attn_q.weight'", replaced("llama.block_count", 4000000));

  ModelFile vector;
  vector.left_out = {"token_embd.weight"};
  vector.builder.tensor("token_embd.weight", {kHidden}, 0, std::string(4 * kHidden, '\0'));
  expect_error("tensor 'token_embd.weight' is not a matrix", vector);
  ModelFile narrow;
  narrow.left_out = {"output_norm.weight"};
  narrow.builder.tensor("output_norm.weight", {4}, 0, std::string(16, '\0'));
  expect_error("tensor 'output_norm.weight' has shape [4], the metadata say [8]", narrow);
  ModelFile extra;
  extra.tensor("blk.0.ffn_up.bias", {kIntermediate});
  expect_error("tensor 'blk.0.ffn_up.bias' has no place in a LlamaForCausalLM", extra);
  ModelFile half_biased;
  half_biased.tensor("blk.0.attn_q.bias", {kHeads * kHeadDim});
  expect_error("has no tensor 'blk.0.attn_k.bias'", half_biased);
  ModelFile scaled;
  scaled.tensor("rope_freqs.weight", {2});
  expect_error("tensor 'rope_freqs.weight' is not what Llama 3 scales", scaled);
  ModelFile yarn;
  yarn.builder.text("llama.rope.scaling.type", "yarn");
  expect_error("llama.rope.scaling.type is 'yarn'", yarn);
  EXPECT_THROW(import(ModelFile(), "int8"), base::ConfigError);
}

TEST_F(GgufImportTest, FaultsOfTheTokenizerAreNamed) {
  const auto without = [](const std::string& name) {
    ModelFile file;
    file.left_out = {name};
    return file;
  };
  ModelFile file = without("model");
  file.builder.text("tokenizer.ggml.model", "bert");
  expect_error("tokenizer model 'bert' (tokenizer.ggml.model) is not supported", file);
  file = without("pre");
  file.builder.text("tokenizer.ggml.pre", "unheard-of");
  expect_error("pre-tokenizer 'unheard-of' (tokenizer.ggml.pre) is not supported; known are gpt-2", file);
  file = without("types");
  file.builder.integers("tokenizer.ggml.token_type", {1, 1});
  expect_error("2 token types for 7 tokens", file);
  file = without("tokens");
  file.builder.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "a", "c", "d", "e"});
  expect_error("token 'a' appears twice, at 0 and 3", file);
  for (const char* merge : {"a c", "ab", "b a", ""}) {
    file = without("merges");
    file.builder.texts("tokenizer.ggml.merges", {merge});
    expect_error("does not join two tokens", file);
  }
  file = without("tokenizer.ggml.eos_token_id");
  file.builder.integer("tokenizer.ggml.eos_token_id", 7);
  expect_error("tokenizer.ggml.eos_token_id is 7, expected 0..6", file);
}

TEST_F(GgufImportTest, DamagedFilesGiveErrors) {
  ModelFile file;
  const std::string bytes = file.build();
  const size_t head = file.builder.head().size();
  const auto use = [&](const std::filesystem::path& path) {
    const GgufReader reader(path);
    gguf_model_config(reader, "float32").dump(-1, ' ', true);
    gguf_generation_config(reader);
    gguf_tokenizer_json(reader);
    gguf_tokenizer_config(reader);
  };
  const auto counts = run_corruptions(bytes, 100, 3000, head, use);
  EXPECT_GT(counts.errors, 1000);
  EXPECT_GT(counts.successes, 100);
  const auto whole = [&](const std::filesystem::path& path) { import_gguf(path, folder_ / "hf", "bfloat16"); };
  EXPECT_GT(run_corruptions(bytes, 20, 150, head, whole).errors, 50);
}

TEST(GgufImportReal, SmolLm2EqualsItsPublishedTokenizer) {
  const std::filesystem::path gguf = std::filesystem::path(RQAT_SOURCE_DIR) / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  const char* data = std::getenv("RQAT_DATA");
  if (!std::filesystem::exists(gguf) || data == nullptr) GTEST_SKIP() << "needs " << gguf << " and RQAT_DATA";
  const GgufReader reader(gguf);
  const json published =
      read_json(std::filesystem::path(data) / "tokenizers/smollm2/SmolLM2-135M-Instruct-Tokenizer.json");
  EXPECT_TRUE(gguf_tokenizer_json(reader) == published);
  const json config = gguf_model_config(reader, "bfloat16");
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_theta"], 100000.0);
  EXPECT_EQ(gguf_generation_config(reader)["eos_token_id"], 2);
}

}  // namespace
}  // namespace rqat::io
