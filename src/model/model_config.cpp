#include "rqat/model/model_config.h"

#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/model/causal_lm.h"

namespace rqat::model {
namespace {

using nlohmann::json;

/// Fields of one JSON object, with errors that name file and field.
class ConfigReader {
 public:
  ConfigReader(const json& object, std::string file) : object_(object), file_(std::move(file)) {
    if (!object.is_object()) throw base::IoError(file_ + ": expected a JSON object");
  }

  [[noreturn]] void fail(const std::string& field, const std::string& text) const {
    throw base::IoError(base::cat(file_, ": ", field, ": ", text));
  }
  /// Null counts as absent, as in transformers.
  const json* find(const std::string& field) const {
    const auto at = object_.find(field);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  int64_t size(const std::string& field) const {
    const json* value = find(field);
    if (!value) fail(field, "missing; it is needed to build the model");
    return checked_size(field, *value);
  }
  int64_t size(const std::string& field, int64_t fallback) const {
    const json* value = find(field);
    return value ? checked_size(field, *value) : fallback;
  }
  double number(const std::string& field, double fallback) const {
    const json* value = find(field);
    if (!value) return fallback;
    if (!value->is_number() || !(value->get<double>() > 0)) fail(field, "expected a number > 0, got " + value->dump());
    return value->get<double>();
  }
  bool flag(const std::string& field) const {
    const json* value = find(field);
    if (value && !value->is_boolean()) fail(field, "expected true or false, got " + value->dump());
    return value && value->get<bool>();
  }
  std::string text(const std::string& field, const std::string& fallback) const {
    const json* value = find(field);
    if (!value) return fallback;
    if (!value->is_string()) fail(field, "expected a text, got " + value->dump());
    return value->get<std::string>();
  }
  /// One token id or a list of them.
  std::vector<int64_t> token_ids(const std::string& field) const {
    std::vector<int64_t> ids;
    const json* value = find(field);
    if (!value) return ids;
    for (const json& id : value->is_array() ? *value : json::array({*value})) {
      if (!id.is_number_integer()) fail(field, "expected a token id or a list of them, got " + value->dump());
      ids.push_back(id.get<int64_t>());
    }
    return ids;
  }
  const std::string& file() const { return file_; }

 private:
  int64_t checked_size(const std::string& field, const json& value) const {
    if (!value.is_number_integer() || value.get<int64_t>() <= 0)
      fail(field, "expected an integer > 0, got " + value.dump());
    return value.get<int64_t>();
  }

  const json& object_;
  std::string file_;
};

/// Rope scaling lies in `rope_scaling` (old files) or in `rope_parameters` beside rope_theta (new files).
void read_rope(const ConfigReader& reader, ModelConfig& config) {
  config.rope_theta = reader.number("rope_theta", config.rope_theta);
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const json* value = reader.find(field);
    if (!value) continue;
    const ConfigReader rope(*value, base::cat(reader.file(), ": ", field));
    const std::string type = rope.text("rope_type", rope.text("type", "default"));
    if (type != "default")
      rope.fail("rope_type", base::cat("rope scaling '", type, "' is not supported; only 'default' is"));
    config.rope_theta = rope.number("rope_theta", config.rope_theta);
    if (rope.number("partial_rotary_factor", 1) != 1) rope.fail("partial_rotary_factor", "only 1 is supported");
  }
}

/// Fields that change the maths and that rqat does not compute.
void refuse_unsupported(const ConfigReader& reader) {
  for (const char* field : {"hidden_act", "hidden_activation"}) {
    const std::string activation = reader.text(field, "silu");
    if (activation != "silu")
      reader.fail(field, base::cat("activation '", activation, "' is not supported; only 'silu' is"));
  }
  if (reader.flag("mlp_bias")) reader.fail("mlp_bias", "a bias in the MLP is not supported");
  if (reader.number("partial_rotary_factor", 1) != 1) reader.fail("partial_rotary_factor", "only 1 is supported");
  if (reader.flag("use_sliding_window")) {
    reader.fail("use_sliding_window", "sliding-window attention is not supported; only full attention is");
  }
  if (const json* types = reader.find("layer_types")) {
    for (const json& type : *types) {
      if (type != "full_attention")
        reader.fail("layer_types", base::cat(type.dump(), " is not supported; only full attention is"));
    }
  }
  if (reader.find("quantization_config")) {
    reader.fail("quantization_config",
                "the folder holds quantized weights; import it, or use the model it was made from");
  }
}

/// Llama's config has no use_sliding_window: there a window that is set is in use (Mistral-like models).
void refuse_window_without_switch(const ConfigReader& reader) {
  if (reader.find("sliding_window") && !reader.find("use_sliding_window")) {
    reader.fail("sliding_window", "sliding-window attention is not supported; only full attention is");
  }
}

void check_heads(const ConfigReader& reader, const ModelConfig& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.fail("num_key_value_heads", base::cat(config.num_key_value_heads, " does not divide num_attention_heads ",
                                                 config.num_attention_heads));
  }
  if (config.head_dim % 2 != 0) reader.fail("head_dim", base::cat("expected an even number, got ", config.head_dim));
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  const json object = io::read_json(file);
  const ConfigReader reader(object, file.string());

  ModelConfig config;
  config.model_type = reader.text("model_type", "");
  if (config.model_type.empty()) reader.fail("model_type", "missing; it names the family");
  if (!families().find_info(config.model_type)) {
    reader.fail("model_type", families().unknown_text(config.model_type));
  }
  refuse_unsupported(reader);
  refuse_window_without_switch(reader);

  config.vocab_size = reader.size("vocab_size");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size");
  config.num_hidden_layers = reader.size("num_hidden_layers");
  config.num_attention_heads = reader.size("num_attention_heads");
  config.num_key_value_heads = reader.size("num_key_value_heads", config.num_attention_heads);
  if (!reader.find("head_dim") && config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("hidden_size", base::cat(config.hidden_size, " is not a multiple of num_attention_heads ",
                                         config.num_attention_heads, ", and head_dim is missing"));
  }
  config.head_dim = reader.size("head_dim", config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = reader.size("max_position_embeddings");
  config.rms_norm_eps = reader.number("rms_norm_eps", config.rms_norm_eps);
  config.tie_word_embeddings = reader.flag("tie_word_embeddings");
  config.attention_bias = reader.flag("attention_bias");
  read_rope(reader, config);
  check_heads(reader, config);

  const std::vector<int64_t> bos = reader.token_ids("bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  config.eos_token_ids = reader.token_ids("eos_token_id");
  const std::filesystem::path generation_file = folder / "generation_config.json";
  if (std::filesystem::exists(generation_file)) {
    const json generation = io::read_json(generation_file);
    const std::vector<int64_t> ids = ConfigReader(generation, generation_file.string()).token_ids("eos_token_id");
    if (!ids.empty()) config.eos_token_ids = ids;
  }
  return config;
}

}  // namespace rqat::model
