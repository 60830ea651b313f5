#include "tiny_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>

#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf_architecture.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"
#include "rqat/model/causal_lm.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::cli {

namespace {

using base::cat;
using nlohmann::json;

constexpr int64_t kEndOfText = 256, kTurnStart = 257, kTurnEnd = 258;
constexpr int64_t kVocabSize = 259;

constexpr const char* kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

std::string utf8(int code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

/// Byte-level vocabularies write each byte as a printable character: itself where it is one, else U+0100 and on.
json byte_vocabulary() {
  json vocabulary = json::object();
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    vocabulary[utf8(printable ? byte : next++)] = byte;
  }
  return vocabulary;
}

json added_token(const char* text, int64_t id) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json tokenizer_json() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {added_token("<|endoftext|>", kEndOfText), added_token("<|im_start|>", kTurnStart),
            added_token("<|im_end|>", kTurnEnd)}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model", {{"type", "BPE"}, {"vocab", byte_vocabulary()}, {"merges", json::array()}}}};
}

json common_json(const TinyModelConfig& config) {
  return {{"architectures", {io::gguf_architecture_of_type(config.family)->class_name}},
          {"model_type", config.family},
          {"vocab_size", kVocabSize},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_layers},
          {"num_attention_heads", config.num_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.hidden_size / config.num_heads},
          {"max_position_embeddings", config.max_length},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"torch_dtype", config.dtype},
          {"bos_token_id", kTurnStart},
          {"eos_token_id", kTurnEnd}};
}

/// What config.json has beyond the fields of every family: small numbers where the published ones are large, so that
/// windows and experts are at work in short texts.
json family_json(const TinyModelConfig& config) {
  const int64_t head_dim = config.hidden_size / config.num_heads, window = 16;
  if (config.family == "gemma2") {
    return {{"hidden_activation", "gelu_pytorch_tanh"},
            {"query_pre_attn_scalar", head_dim},
            {"sliding_window", window},
            {"attn_logit_softcapping", 50.0},
            {"final_logit_softcapping", 30.0}};
  }
  if (config.family == "gemma3_text") {
    return {{"hidden_activation", "gelu_pytorch_tanh"},
            {"query_pre_attn_scalar", head_dim},
            {"sliding_window", window},
            {"sliding_window_pattern", 6},
            {"rope_theta", 1e6},
            {"rope_local_base_freq", 10000.0}};
  }
  if (config.family == "mistral") return {{"sliding_window", nullptr}};
  if (config.family == "olmo2") return {{"tie_word_embeddings", false}};
  if (config.family == "olmo3") return {{"tie_word_embeddings", false}, {"sliding_window", window}};
  if (config.family == "phi3") {
    return {{"sliding_window", nullptr},
            {"original_max_position_embeddings", config.max_length},
            {"pad_token_id", kEndOfText}};
  }
  if (config.family == "qwen3_moe") {
    return {{"num_experts", 4},         {"num_experts_per_tok", 2},
            {"norm_topk_prob", true},   {"moe_intermediate_size", config.intermediate_size},
            {"decoder_sparse_step", 1}, {"mlp_only_layers", json::array()}};
  }
  if (config.family == "smollm3") return {{"no_rope_layer_interval", 4}, {"pad_token_id", kEndOfText}};
  return json::object();
}

json model_json(const TinyModelConfig& config) {
  json fields = common_json(config);
  fields.update(family_json(config));
  return fields;
}

/// Joins linears that files of the family hold as one tensor.
void join_fused(const model::CausalLM& structure, io::TensorMap& weights) {
  for (int64_t layer = 0; layer < structure.config().num_hidden_layers; ++layer) {
    for (const model::FusedLinear& fused : structure.options().fused) {
      const std::string prefix = cat("model.layers.", layer, ".");
      std::vector<at::Tensor> parts;
      for (const std::string& part : fused.parts) {
        parts.push_back(weights.extract(prefix + part + ".weight").mapped());
      }
      weights[prefix + fused.name + ".weight"] = at::cat(parts);
    }
  }
}

/// Every weight of the model that config.json describes, by the names the family itself uses.
io::TensorMap random_weights(const TinyModelConfig& config, const std::filesystem::path& folder) {
  nn::FloatLayerFactory factory;
  model::CausalLM structure(model::read_model_config(folder), factory, at::kFloat, at::kMeta);
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(config.seed));
  const at::ScalarType dtype = pipeline::dtype_by_name(config.dtype);
  const auto shapes = structure.weight_shapes();
  const double norm = 1 - structure.options().norm_style.weight_offset;
  io::TensorMap weights;
  for (const nn::LinearBase* linear : structure.linears()) {
    const nn::LinearSpec& spec = linear->spec();
    weights[spec.name + ".weight"] = (at::randn({spec.out_features, spec.in_features}, generator) * 0.02).to(dtype);
    if (spec.bias) weights[spec.name + ".bias"] = at::zeros({spec.out_features}, dtype);
  }
  for (const nn::Parameter* parameter : structure.parameters()) {
    if (parameter->role == nn::Role::kWeight || parameter->role == nn::Role::kBias) continue;  // the linears' own
    const std::vector<int64_t>& shape = shapes.at(parameter->name);
    weights[parameter->name] = shape.size() == 1 ? at::full(shape, norm, at::TensorOptions(dtype))
                                                 : (at::randn(shape, generator) * 0.02).to(dtype);
  }
  join_fused(structure, weights);
  return weights;
}

}  // namespace

void TinyModelConfig::fields(base::FieldVisitor& v) {
  v.field("out", out, "folder to write");
  v.required("out");
  std::vector<std::string> families;
  for (const auto& entry : model::families().entries()) families.push_back(entry.name);
  v.choice("family", family, families, "model family");
  v.field("hidden_size", hidden_size, "width", base::Range{8, 8192});
  v.field("intermediate_size", intermediate_size, "width inside the MLP", base::Range{8, 32768});
  v.field("num_layers", num_layers, "blocks", base::Range{1, 128});
  v.field("num_heads", num_heads, "attention heads", base::Range{1, 256});
  v.field("num_key_value_heads", num_key_value_heads, "heads of keys and values", base::Range{1, 256});
  v.field("max_length", max_length, "longest sequence", base::Range{16, 1e6});
  v.choice("dtype", dtype, {"bfloat16", "float32"}, "type of the weights");
  v.field("seed", seed, "of the weights", base::non_negative());
  v.field("overwrite", overwrite, "replace a model folder that stands there");
}

std::vector<std::string> TinyModelConfig::check() const {
  std::vector<std::string> faults;
  if (hidden_size % num_heads != 0 || hidden_size / num_heads % 2 != 0) {
    faults.push_back(cat("hidden_size ", hidden_size, " must be an even multiple of num_heads ", num_heads));
  }
  if (num_heads % num_key_value_heads != 0) {
    faults.push_back(cat("num_heads ", num_heads, " must be a multiple of num_key_value_heads ", num_key_value_heads));
  }
  return faults;
}

void write_tiny_model(const TinyModelConfig& config) {
  base::write_folder(config.out, [&](const std::filesystem::path& folder) {
    io::write_json(folder / "config.json", model_json(config));
    io::write_json(folder / "generation_config.json",
                   {{"bos_token_id", kTurnStart}, {"eos_token_id", {kTurnEnd, kEndOfText}}});
    io::write_json(folder / "tokenizer.json", tokenizer_json());
    io::write_json(folder / "tokenizer_config.json", {{"bos_token", "<|im_start|>"},
                                                      {"eos_token", "<|im_end|>"},
                                                      {"chat_template", kChatTemplate},
                                                      {"tokenizer_class", "PreTrainedTokenizerFast"}});
    io::write_safetensors(folder / "model.safetensors", random_weights(config, folder));
  });
}

}  // namespace rqat::cli
