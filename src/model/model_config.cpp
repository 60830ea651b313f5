#include "rqat/model/model_config.h"

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "config_reader.h"
#include "rope_config.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/model/causal_lm.h"

namespace rqat::model {
namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

/// Reads one field of config.json into its place.
using ReadField = std::function<void(const ConfigReader&, const std::string&, ModelConfig&)>;

ReadField flag(bool ModelConfig::*member) {
  return [member](const ConfigReader& reader, const std::string& name, ModelConfig& config) {
    config.*member = reader.flag(name, config.*member);
  };
}

/// Null means 0 = none, absent the family's default.
ReadField size(int64_t ModelConfig::*member) {
  return [member](const ConfigReader& reader, const std::string& name, ModelConfig& config) {
    config.*member = reader.is_null(name) ? 0 : reader.size(name, config.*member);
  };
}

ReadField number(double ModelConfig::*member) {
  return [member](const ConfigReader& reader, const std::string& name, ModelConfig& config) {
    config.*member = reader.is_null(name) ? 0 : reader.number(name, config.*member);
  };
}

ReadField integers(std::vector<int64_t> ModelConfig::*member) {
  return [member](const ConfigReader& reader, const std::string& name, ModelConfig& config) {
    config.*member = reader.integers(name);
  };
}

void read_activation(const ConfigReader& reader, const std::string& name, ModelConfig& config) {
  config.hidden_act = reader.text(name, config.hidden_act);
  if (config.hidden_act == "silu" || config.hidden_act == "gelu_pytorch_tanh") return;
  reader.fail(name, base::cat("activation '", config.hidden_act, "' is not supported; silu and gelu_pytorch_tanh are"));
}

void read_layer_types(const ConfigReader& reader, const std::string& name, ModelConfig& config) {
  config.layer_types = reader.texts(name);
  for (const std::string& type : config.layer_types) {
    if (type != "full_attention" && type != "sliding_attention") {
      reader.fail(name, base::cat("'", type, "' is not supported; full_attention and sliding_attention are"));
    }
  }
}

void read_with_rope(const ConfigReader&, const std::string&, ModelConfig&) {}

/// Fields that only some families have; a family names its own.
const std::map<std::string, ReadField>& family_fields() {
  static const std::map<std::string, ReadField> fields{
      {"hidden_act", read_activation},
      {"hidden_activation", read_activation},
      {"attention_bias", flag(&ModelConfig::attention_bias)},
      {"mlp_bias", flag(&ModelConfig::mlp_bias)},
      {"use_sliding_window", flag(&ModelConfig::use_sliding_window)},
      {"sliding_window", size(&ModelConfig::sliding_window)},
      {"max_window_layers", size(&ModelConfig::max_window_layers)},
      {"sliding_window_pattern", size(&ModelConfig::sliding_window_pattern)},
      {"layer_types", read_layer_types},
      {"no_rope_layers", integers(&ModelConfig::no_rope_layers)},
      {"no_rope_layer_interval", size(&ModelConfig::no_rope_layer_interval)},
      {"query_pre_attn_scalar", number(&ModelConfig::query_pre_attn_scalar)},
      {"attn_logit_softcapping", number(&ModelConfig::attn_logit_softcapping)},
      {"final_logit_softcapping", number(&ModelConfig::final_logit_softcapping)},
      {"num_experts", size(&ModelConfig::num_experts)},
      {"num_local_experts", size(&ModelConfig::num_experts)},
      {"num_experts_per_tok", size(&ModelConfig::num_experts_per_tok)},
      {"moe_intermediate_size", size(&ModelConfig::moe_intermediate_size)},
      {"decoder_sparse_step", size(&ModelConfig::decoder_sparse_step)},
      {"norm_topk_prob", flag(&ModelConfig::norm_topk_prob)},
      {"mlp_only_layers", integers(&ModelConfig::mlp_only_layers)},
      {"rope_local_base_freq", read_with_rope},
      {"partial_rotary_factor", read_with_rope},
      {"original_max_position_embeddings", read_with_rope}};
  return fields;
}

/// Fields of every family that are read.
const Names kCommon{"model_type",
                    "vocab_size",
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "num_key_value_heads",
                    "head_dim",
                    "max_position_embeddings",
                    "rms_norm_eps",
                    "tie_word_embeddings",
                    "bos_token_id",
                    "eos_token_id",
                    "rope_theta",
                    "rope_scaling",
                    "rope_parameters"};

/// Fields of any family that leave the maths of weights and logits alone.
const Names kNeutral{
    // who made the file, with what, how it is run
    "architectures", "auto_map", "_name_or_path", "name_or_path", "transformers_version", "transformers.js_config",
    "torch_dtype", "dtype", "use_bfloat16", "torchscript", "attn_implementation", "_attn_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "use_cache", "cache_implementation",
    "gradient_checkpointing", "return_dict", "output_attentions", "output_hidden_states", "unsloth_version",
    "unsloth_fixed", "is_llama_config", "pretraining_tp", "model_name", "tokenizer_class", "prefix", "is_decoder",
    // initialization
    "initializer_range", "initializer_factor",
    // tasks other than language modeling
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params",
    "classifier_dropout",
    // tokens
    "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "decoder_start_token_id",
    // how old files say how to sample
    "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams",
    "num_beam_groups", "diversity_penalty", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "num_return_sequences", "early_stopping", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "output_scores", "return_dict_in_generate", "chunk_size_feed_forward"};

/// Fields that are written although off; on, they change the maths in a way that is not supported.
const Names kOff{"use_mrope",
                 "rope_interleaved",
                 "use_bidirectional_attention",
                 "output_router_logits",
                 "attention_bias",
                 "mlp_bias",
                 "lm_head_bias",
                 "use_sliding_window",
                 "is_encoder_decoder",
                 "add_cross_attention",
                 "tie_encoder_decoder"};

/// Dropout changes training; rqat has none.
const Names kDropout{"attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout", "residual_dropout"};

bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void check_off(const ConfigReader& reader, const std::string& name) {
  if (reader.flag(name)) reader.fail(name, "true is not supported for this family; only false is");
}

void check_dropout(const ConfigReader& reader, const std::string& name) {
  const json& value = *reader.find(name);
  if (!value.is_number()) reader.fail(name, "expected a number, got " + value.dump());
  if (value.get<double>() != 0) reader.fail(name, "dropout is not supported; set it to 0");
}

/// Refuses a field whose effect is not known: a config that says more than is computed would give another model.
void check_field(const ConfigReader& reader, const std::string& name, const Names& own, const ModelConfig& config) {
  if (name == "quantization_config" || name == "quantization") {
    reader.fail(name, "the folder holds quantized weights; import it, or use the model it was made from");
  }
  if (contains(kCommon, name) || contains(kNeutral, name) || contains(own, name)) return;
  if (contains(kOff, name)) return check_off(reader, name);
  if (contains(kDropout, name)) return check_dropout(reader, name);
  if (name == "partial_rotary_factor" || name == "hidden_activation") return;  // checked where they are read
  reader.fail(name,
              base::cat("not a field of '", config.model_type, "' that rqat knows (value ", reader.find(name)->dump(),
                        "): it may change what the model computes; remove it if it does not"));
}

void read_sizes(const ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.size("vocab_size");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size", config.intermediate_size);
  if (config.intermediate_size == 0) config.intermediate_size = reader.size("intermediate_size");
  config.num_hidden_layers = reader.size("num_hidden_layers");
  config.num_attention_heads = reader.size("num_attention_heads");
  config.num_key_value_heads = reader.size("num_key_value_heads", config.num_attention_heads);
  if (!reader.find("head_dim") && config.head_dim == 0 && config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("hidden_size", base::cat(config.hidden_size, " is not a multiple of num_attention_heads ",
                                         config.num_attention_heads, ", and head_dim is missing"));
  }
  const int64_t usual = config.head_dim > 0 ? config.head_dim : config.hidden_size / config.num_attention_heads;
  config.head_dim = reader.size("head_dim", usual);
  config.max_position_embeddings = reader.size("max_position_embeddings");
  config.rms_norm_eps = reader.number("rms_norm_eps", config.rms_norm_eps);
  config.tie_word_embeddings = reader.flag("tie_word_embeddings", config.tie_word_embeddings);
}

/// Layers and experts are made, and rope's frequencies computed, before the weights are seen.
void check_limits(const ConfigReader& reader, const ModelConfig& config) {
  constexpr int64_t kMostLayers = 10'000, kMostExperts = 10'000, kMostHeadDim = 65'536;
  for (const auto& [field, value, most] : {std::tuple{"num_hidden_layers", config.num_hidden_layers, kMostLayers},
                                           {"num_experts", config.num_experts, kMostExperts},
                                           {"head_dim", config.head_dim, kMostHeadDim}}) {
    if (value > most) reader.fail(field, base::cat(value, " is more than ", most));
  }
}

void check_consistency(const ConfigReader& reader, const ModelConfig& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.fail("num_key_value_heads", base::cat(config.num_key_value_heads, " does not divide num_attention_heads ",
                                                 config.num_attention_heads));
  }
  if (config.head_dim % 2 != 0) reader.fail("head_dim", base::cat("expected an even number, got ", config.head_dim));
  const auto layers = static_cast<size_t>(config.num_hidden_layers);
  if (!config.layer_types.empty() && config.layer_types.size() != layers) {
    reader.fail("layer_types", base::cat("has ", config.layer_types.size(), " entries, expected ", layers));
  }
  if (!config.no_rope_layers.empty() && config.no_rope_layers.size() < layers) {
    reader.fail("no_rope_layers", base::cat("has ", config.no_rope_layers.size(), " entries, expected ", layers));
  }
  if (contains(config.layer_types, "sliding_attention") && config.sliding_window == 0) {
    reader.fail("sliding_window", "missing, but layer_types names sliding_attention");
  }
  if (config.num_experts_per_tok > config.num_experts) {
    reader.fail("num_experts_per_tok",
                base::cat(config.num_experts_per_tok, " is more than num_experts ", config.num_experts));
  }
}

void read_tokens(const ConfigReader& reader, const std::filesystem::path& folder, ModelConfig& config) {
  const std::vector<int64_t> bos = reader.token_ids("bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  config.eos_token_ids = reader.token_ids("eos_token_id");
  const std::filesystem::path file = folder / "generation_config.json";
  if (!std::filesystem::exists(file)) return;
  const json generation = io::read_json(file);
  const std::vector<int64_t> ids = ConfigReader(generation, file.string()).token_ids("eos_token_id");
  if (!ids.empty()) config.eos_token_ids = ids;
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  if (std::filesystem::is_regular_file(folder)) {
    throw base::IoError(
        base::cat(folder.string(), ": is a file, but not a .gguf; expected a model folder or a GGUF file"));
  }
  if (std::filesystem::is_directory(folder) && !std::filesystem::exists(file)) {
    throw base::IoError(base::cat(folder.string(), ": is no model folder: it holds no config.json"));
  }
  const json object = io::read_json(file);
  const ConfigReader reader(object, file.string());

  ModelConfig config;
  config.model_type = reader.text("model_type", "");
  if (config.model_type.empty()) reader.fail("model_type", "missing; it names the family");
  if (!families().find_info(config.model_type)) {
    reader.fail("model_type", families().unknown_text(config.model_type));
  }
  const std::unique_ptr<Family> family = families().make(config.model_type);
  family->set_defaults(config);
  const Names fields = family->fields();
  Names own = family->neutral_fields();
  own.insert(own.end(), fields.begin(), fields.end());
  for (const std::string& name : reader.names()) check_field(reader, name, own, config);

  read_sizes(reader, config);
  for (const std::string& name : fields) family_fields().at(name)(reader, name, config);
  read_rope(reader, contains(fields, "partial_rotary_factor"), config);
  check_limits(reader, config);
  check_consistency(reader, config);
  read_tokens(reader, folder, config);
  return config;
}

}  // namespace rqat::model
