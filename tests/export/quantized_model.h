// Small quantized models with a source folder, for the tests of exporters.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/export/exporter.h"
#include "rqat/io/json_file.h"
#include "rqat/quant/fake_quant_linear.h"
#include "rqat/quant/policy.h"
#include "rqat/quant/state.h"
#include "support/messages.h"

namespace rqat::exporting {

using model::TemporaryFolder;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The layer that tests look at: [128, 64] with even_config().
inline constexpr const char* kUp = "model.layers.1.mlp.up_proj";

/// Widths that are no multiples of 32, so that codes straddle words and rows end inside one.
inline model::ModelConfig odd_config(const std::string& model_type = "llama", bool tied = true) {
  model::ModelConfig config = model::tiny_config(model_type, tied);
  config.hidden_size = 40;
  config.intermediate_size = 56;
  config.head_dim = 10;
  return config;
}

/// Widths that every format can pack.
inline model::ModelConfig even_config(const std::string& model_type = "llama", bool tied = true) {
  model::ModelConfig config = model::tiny_config(model_type, tied);
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.head_dim = 16;
  return config;
}

/// A byte-level BPE vocabulary of `tokens` letters and one end token, split as Qwen does.
inline void write_tokenizer(const std::filesystem::path& folder, int64_t tokens = 40) {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (int64_t id = 0; id < tokens; ++id) vocabulary[std::string(1, static_cast<char>('A' + id))] = id;
  vocabulary["AB"] = tokens;
  const std::string split =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const nlohmann::json splitting{
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", split}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}}}}};
  io::write_json(folder / "tokenizer.json",
                 {{"version", "1.0"},
                  {"added_tokens",
                   {{{"id", tokens + 1}, {"content", "<|im_end|>"}, {"special", false}},
                    {{"id", tokens + 2}, {"content", "<think>"}, {"special", false}}}},
                  {"normalizer", nullptr},
                  {"pre_tokenizer", splitting},
                  {"post_processor", nullptr},
                  {"decoder", {{"type", "ByteLevel"}}},
                  {"model",
                   {{"type", "BPE"},
                    {"vocab", vocabulary},
                    {"merges", nlohmann::json::array({nlohmann::json::array({"A", "B"})})}}}});
  io::write_json(folder / "tokenizer_config.json", {{"eos_token", "<|im_end|>"}, {"add_bos_token", false}});
}

/// What exporters copy and edit.
inline void write_source(const std::filesystem::path& folder, const model::ModelConfig& config) {
  std::filesystem::create_directories(folder);
  nlohmann::json json{{"model_type", config.model_type},
                      {"architectures", {"LlamaForCausalLM"}},
                      {"vocab_size", config.vocab_size},
                      {"hidden_size", config.hidden_size},
                      {"intermediate_size", config.intermediate_size},
                      {"num_hidden_layers", config.num_hidden_layers},
                      {"num_attention_heads", config.num_attention_heads},
                      {"num_key_value_heads", config.num_key_value_heads},
                      {"head_dim", config.head_dim},
                      {"max_position_embeddings", config.max_position_embeddings},
                      {"rms_norm_eps", config.rms_norm_eps},
                      {"rope_theta", config.rope.theta},
                      {"tie_word_embeddings", config.tie_word_embeddings},
                      {"torch_dtype", "bfloat16"}};
  if (config.num_experts > 0) {
    json.update({{"num_experts", config.num_experts},
                 {"num_experts_per_tok", config.num_experts_per_tok},
                 {"moe_intermediate_size", config.moe_intermediate_size},
                 {"norm_topk_prob", config.norm_topk_prob}});
  }
  io::write_json(folder / "config.json", json);
  base::write_file(folder / "tokenizer.json", "{\"of\": \"the source\"}");
  base::write_file(folder / "chat_template.jinja", "template");
  base::write_file(folder / "optimizer.pt", "not part of an export");
}

inline quant::QuantPolicy policy_of(int64_t num_bits, bool symmetric, int64_t group_size,
                                    const std::string& overrides = "{}") {
  quant::QuantPolicy policy;
  policy.num_bits = num_bits;
  policy.symmetric = symmetric;
  policy.group_size = group_size;
  policy.overrides = base::Node::parse(overrides, "overrides");
  return policy;
}

/// A source folder and a random model, quantized by min-max.
struct QuantizedModel {
  explicit QuantizedModel(const quant::QuantPolicy& policy, const model::ModelConfig& config = odd_config(),
                          at::ScalarType dtype = at::kFloat)
      : source(folder.path() / "source"), out(folder.path() / "out") {
    write_source(source, config);
    quant::QuantLayerFactory factory(policy, base::Component("clipped_ste"));
    model = std::make_unique<model::CausalLM>(config, factory, dtype, at::kCPU);
    model::load(*model, model::random_weights(config));
  }

  quant::FakeQuantLinear& layer(const std::string& name) {
    for (nn::LinearBase* linear : model->linears()) {
      if (linear->name() == name) return dynamic_cast<quant::FakeQuantLinear&>(*linear);
    }
    throw std::out_of_range(name);
  }

  TemporaryFolder folder;
  std::filesystem::path source, out;
  std::unique_ptr<model::CausalLM> model;
};

inline std::unique_ptr<Exporter> make_exporter(const std::string& name, const std::string& settings = "{}") {
  for (const auto& entry : exporters().entries()) {
    if (entry.name != name) continue;
    base::Component component(name);
    component.config = entry.make_config();
    base::Faults faults;
    base::read_config(*component.config, base::Node::parse(settings, "settings"), name, faults);
    faults.raise(name);
    return exporters().make(component);
  }
  throw std::out_of_range(name);
}

/// What an exporter says of a policy, before there are weights.
inline std::vector<std::string> faults_of(const std::string& exporter, const quant::QuantPolicy& policy,
                                          const std::string& settings = "{}",
                                          const model::ModelConfig& config = even_config()) {
  quant::QuantLayerFactory factory(policy, base::Component("ste"));
  model::CausalLM model(config, factory, at::kFloat, at::kMeta);
  return export_faults(*make_exporter(exporter, settings), model, "");
}

inline uint32_t word_at(const at::Tensor& words, int64_t row, int64_t column) {
  return static_cast<uint32_t>(words[row][column].item<int32_t>());
}

/// Field `index` of the bit stream along a row of int32 words, bit by bit.
inline int64_t field_at(const at::Tensor& words, int64_t row, int64_t index, int64_t num_bits) {
  int64_t value = 0;
  for (int64_t bit = 0; bit < num_bits; ++bit) {
    const int64_t place = index * num_bits + bit;
    value |= static_cast<int64_t>(word_at(words, row, place / 32) >> (place % 32) & 1) << bit;
  }
  return value;
}

/// Two token lists of different lengths.
inline std::vector<std::vector<int64_t>> probe() { return {{1, 7, 3, 20, 44, 9}, {5, 6, 49}}; }

inline io::TensorMap read_tensors(const std::filesystem::path& folder) {
  const io::SafetensorsReader reader(folder / "model.safetensors");
  io::TensorMap tensors;
  for (const auto& [name, info] : reader.tensors()) tensors[name] = reader.read(name);
  return tensors;
}

/// Writes the weights of a folder again, changed.
inline void change_tensors(const std::filesystem::path& folder, const std::function<void(io::TensorMap&)>& change) {
  io::TensorMap tensors = read_tensors(folder);
  change(tensors);
  io::write_safetensors(folder / "model.safetensors", tensors);
}

/// A stage folder as a model in float32.
inline std::unique_ptr<model::CausalLM> load_stage(const std::filesystem::path& folder) {
  quant::QuantLayerFactory factory(quant::read_formats(base::read_file(folder / "rqat_quant.json"), "rqat_quant.json"),
                                   base::Component("clipped_ste"));
  auto model = model::load_model(folder, factory, at::kFloat, at::kCPU);
  const io::SafetensorsReader state(folder / "rqat_state.safetensors");
  io::TensorMap tensors;
  for (const auto& [name, info] : state.tensors()) tensors.emplace(name, state.read(name));
  quant::load_state(model->linears(), tensors);
  return model;
}

using test::message_of;

}  // namespace rqat::exporting
