#include "io/gguf_config.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf_import.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;
using nlohmann::json;

constexpr double kDefaultRopeBase = 10000.0;  // of ggml
constexpr int64_t kGemma2Pattern = 2, kGemma3Pattern = 6;
// Layers of the models of 27 billion weights, whose scores are scaled otherwise.
constexpr int64_t kGemma2Largest = 46, kGemma3Largest = 62;

[[noreturn]] void fail(const GgufReader& reader, const std::string& why) {
  throw IoError(cat(reader.path().string(), ": ", why));
}

int64_t positive(const GgufReader& reader, const std::string& key) {
  const int64_t value = reader.integer(key);
  constexpr int64_t kLargest = int64_t{1} << 31;  // keeps products of two sizes inside an int64
  if (value <= 0 || value > kLargest)
    fail(reader, cat("metadata key '", key, "' is ", value, ", expected 1..", kLargest));
  return value;
}

int64_t head_dim_of(const GgufReader& reader, const std::string& prefix, int64_t hidden, int64_t heads) {
  const std::string key = prefix + "attention.key_length";
  if (!reader.has(key) && hidden % heads != 0) {
    fail(reader, cat("embedding_length ", hidden, " is not divisible by attention.head_count ", heads));
  }
  const int64_t head_dim = reader.has(key) ? positive(reader, key) : hidden / heads;
  if (head_dim % 2 != 0) fail(reader, cat("head size ", head_dim, " is odd, rotary embeddings need an even one"));
  for (const char* other : {"attention.value_length", "rope.dimension_count"}) {
    if (reader.has(prefix + other) && reader.integer(prefix + other) != head_dim) {
      fail(reader, cat(prefix, other, " is ", reader.integer(prefix + other), ", only the head size ", head_dim,
                       " is supported"));
    }
  }
  return head_dim;
}

/// A number that was stored as fp32, as its shortest decimal: 1e-05 and not 9.999999747378752e-06.
double shortest_decimal(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  char text[32];
  const auto written = std::to_chars(text, text + sizeof(text), narrow);
  double decimal = value;
  std::from_chars(text, written.ptr, decimal);
  return decimal;
}

/// Makes config.json of one file.
class ConfigMaker {
 public:
  ConfigMaker(const GgufReader& reader, const std::string& dtype)
      : reader_(reader),
        architecture_(gguf_architecture(reader)),
        sizes_(gguf_sizes(reader)),
        prefix_(std::string(architecture_.name) + ".") {
    config_ = {
        {"architectures", {architecture_.class_name}},
        {"model_type", architecture_.model_type},
        {"torch_dtype", dtype},
        {"hidden_size", sizes_.hidden},
        {"intermediate_size", sizes_.intermediate},
        {"num_hidden_layers", sizes_.layers},
        {"num_attention_heads", sizes_.heads},
        {"num_key_value_heads", sizes_.kv_heads},
        {"head_dim", sizes_.head_dim},
        {"vocab_size", sizes_.vocabulary},
        {"max_position_embeddings", sizes_.context},
        {"rms_norm_eps", shortest_decimal(reader.number(prefix_ + "attention.layer_norm_rms_epsilon"))},
        {"rope_theta", number("rope.freq_base", kDefaultRopeBase)},
        {"rope_scaling", nullptr},
        {"tie_word_embeddings", reader.tensors().count("output.weight") == 0},
        {"hidden_act", "silu"},
        {"attention_bias", gguf_attention_bias(reader, architecture_)},
        {"attention_dropout", 0.0},
        {"initializer_range", 0.02},
        {"use_cache", true},
    };
  }

  json make() {
    const std::string type = architecture_.model_type;
    add_rope_scaling();
    if (type == "llama") config_["mlp_bias"] = false;
    if (type == "gemma2") add_gemma2();
    if (type == "gemma3_text") add_gemma3();
    if (type == "olmo2") add_olmo3();
    if (type == "phi3") add_phi3();
    if (type == "qwen3_moe") add_experts();
    if (type == "smollm3") config_["no_rope_layer_interval"] = 4;  // not in the file
    add_token_ids();
    return std::move(config_);
  }

 private:
  double number(const std::string& key, double fallback) const {
    return reader_.has(prefix_ + key) ? shortest_decimal(reader_.number(prefix_ + key)) : fallback;
  }
  int64_t integer(const std::string& key, int64_t fallback) const {
    return reader_.has(prefix_ + key) ? reader_.integer(prefix_ + key) : fallback;
  }

  void add_rope_scaling() {
    const std::string key = prefix_ + "rope.scaling.type";
    const std::string type = reader_.has(key) ? reader_.text(key) : "none";
    if (reader_.tensors().count("rope_freqs.weight") > 0) {
      config_["rope_scaling"] = llama3_scaling();
    } else if (type == "linear") {
      const double factor = reader_.number(prefix_ + "rope.scaling.factor");
      config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", shortest_decimal(factor)}};
    } else if (type != "none") {
      fail(reader_, cat(key, " is '", type, "', rotary embeddings that are scaled so are not supported"));
    }
  }

  /// The file has the divisors that follow from the parameters of Llama 3, and not these; all published models but for
  /// the factor have the same.
  json llama3_scaling() const {
    constexpr double kLowFactor = 1, kHighFactor = 4, kOriginalLength = 8192;
    if (std::string(architecture_.name) != "llama")
      fail(reader_, "tensor 'rope_freqs.weight' is known in a llama only");
    const at::Tensor divisors = reader_.read("rope_freqs.weight").to(at::kDouble).flatten();
    const double factor = divisors.numel() > 0 ? divisors.max().item<double>() : 0;
    const at::Tensor expected = llama3_rope_divisors(config_.at("rope_theta").get<double>(), sizes_.head_dim, factor,
                                                     kLowFactor, kHighFactor, kOriginalLength);
    if (divisors.sizes() != expected.sizes() || !at::allclose(divisors, expected, 1e-4, 0)) {
      fail(reader_,
           "tensor 'rope_freqs.weight' is not what Llama 3 scales its rotary embeddings by (low_freq_factor 1, "
           "high_freq_factor 4, original length 8192); other scalings are not supported");
    }
    return {{"rope_type", "llama3"},
            {"factor", shortest_decimal(factor)},
            {"low_freq_factor", kLowFactor},
            {"high_freq_factor", kHighFactor},
            {"original_max_position_embeddings", static_cast<int64_t>(kOriginalLength)}};
  }

  void add_gemma(int64_t largest) {
    config_["hidden_activation"] = config_["hidden_act"] = "gelu_pytorch_tanh";
    config_["query_pre_attn_scalar"] = sizes_.layers == largest ? sizes_.hidden / sizes_.heads : sizes_.head_dim;
  }

  void add_gemma2() {
    add_gemma(kGemma2Largest);
    check_pattern(kGemma2Pattern);
    config_["sliding_window"] = integer("attention.sliding_window", 4096);
    config_["attn_logit_softcapping"] = number("attn_logit_softcapping", 50);
    config_["final_logit_softcapping"] = number("final_logit_softcapping", 30);
  }

  void add_gemma3() {
    add_gemma(kGemma3Largest);
    check_pattern(kGemma3Pattern);
    if (!reader_.has(prefix_ + "attention.sliding_window"))
      fail(reader_, "a gemma3 without sliding_window is not read");
    config_["sliding_window"] = reader_.integer(prefix_ + "attention.sliding_window");
    config_["sliding_window_pattern"] = kGemma3Pattern;
    config_["rope_theta"] = number("rope.freq_base", 1e6);
    config_["rope_local_base_freq"] = number("rope.freq_base_swa", kDefaultRopeBase);
    const double cap = number("final_logit_softcapping", 0);
    config_["final_logit_softcapping"] = cap > 0 ? json(cap) : json();
  }

  /// OLMo 3 is an OLMo 2 with a window, and names the layers that have it.
  void add_olmo3() {
    if (integer("attention.sliding_window", 0) == 0) return;
    config_["model_type"] = "olmo3";
    config_["architectures"] = {"Olmo3ForCausalLM"};
    config_["sliding_window"] = reader_.integer(prefix_ + "attention.sliding_window");
    const std::string key = prefix_ + "attention.sliding_window_pattern";
    if (!reader_.has(key)) return;
    const std::vector<int64_t>& pattern = reader_.integers(key);
    if (static_cast<int64_t>(pattern.size()) != sizes_.layers) {
      fail(reader_, cat(key, " has ", pattern.size(), " entries for ", sizes_.layers, " layers"));
    }
    json types = json::array();
    for (const int64_t local : pattern) types.push_back(local != 0 ? "sliding_attention" : "full_attention");
    config_["layer_types"] = types;
  }

  void add_phi3() {
    // llama.cpp computes without it.
    config_["sliding_window"] = nullptr;
    config_["original_max_position_embeddings"] = integer("rope.scaling.original_context_length", sizes_.context);
    config_.erase("attention_bias");
  }

  void add_experts() {
    config_["num_experts"] = sizes_.experts;
    config_["num_experts_per_tok"] = sizes_.experts_per_token;
    config_["moe_intermediate_size"] = sizes_.intermediate;
    config_["intermediate_size"] = integer("feed_forward_length", sizes_.intermediate);
    config_["norm_topk_prob"] = true;  // llama.cpp's own
    config_["decoder_sparse_step"] = 1;
    config_["mlp_only_layers"] = json::array();
  }

  /// Another alternation of layers than the family's own.
  void check_pattern(int64_t expected) const {
    const std::string key = prefix_ + "attention.sliding_window_pattern";
    if (!reader_.has(key)) return;
    const GgufValue& value = reader_.metadata().at(key);
    const auto* one = std::get_if<int64_t>(&value);
    const auto* each = std::get_if<std::vector<int64_t>>(&value);
    bool same = one != nullptr && *one == expected;
    if (each != nullptr) {
      same = static_cast<int64_t>(each->size()) == sizes_.layers;
      for (size_t layer = 0; same && layer < each->size(); ++layer) {
        same = ((*each)[layer] != 0) == ((static_cast<int64_t>(layer) + 1) % expected != 0);
      }
    }
    if (!same) fail(reader_, cat(key, ": only a full layer every ", expected, " layers is supported"));
  }

  void add_token_ids() {
    const std::pair<const char*, const char*> kIds[] = {
        {"bos_token_id", "bos"}, {"eos_token_id", "eos"}, {"pad_token_id", "padding"}};
    for (const auto& [name, key] : kIds) {
      const std::string full_key = cat("tokenizer.ggml.", key, "_token_id");
      if (reader_.has(full_key)) config_[name] = reader_.integer(full_key);
    }
  }

  const GgufReader& reader_;
  const GgufArchitecture& architecture_;
  GgufSizes sizes_;
  std::string prefix_;
  json config_;
};

}  // namespace

at::Tensor llama3_rope_divisors(double theta, int64_t head_dim, double factor, double low_frequency_factor,
                                double high_frequency_factor, double original_length) {
  const double longest = original_length / low_frequency_factor, shortest = original_length / high_frequency_factor;
  at::Tensor divisors = at::empty({head_dim / 2}, at::kDouble);
  for (int64_t pair = 0; pair < head_dim / 2; ++pair) {
    const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(head_dim);
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, exponent);
    double divisor = wavelength > longest ? factor : 1;
    if (wavelength >= shortest && wavelength <= longest) {
      const double smooth =
          (original_length / wavelength - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
      divisor = 1 / ((1 - smooth) / factor + smooth);
    }
    divisors[pair] = divisor;
  }
  return divisors;
}

const GgufArchitecture& gguf_architecture(const GgufReader& reader) {
  const std::string& name = reader.text("general.architecture");
  if (const GgufArchitecture* known = gguf_architecture_named(name)) return *known;
  std::set<std::string> names;
  for (const GgufArchitecture& known : gguf_architectures()) names.insert(known.name);
  fail(reader,
       cat("architecture '", name, "' is not supported (one of ", base::join({names.begin(), names.end()}, ", "), ")"));
}

GgufSizes gguf_sizes(const GgufReader& reader) {
  const GgufArchitecture& architecture = gguf_architecture(reader);
  const std::string prefix = std::string(architecture.name) + ".";
  GgufSizes sizes{};
  sizes.hidden = positive(reader, prefix + "embedding_length");
  sizes.intermediate =
      positive(reader, prefix + (architecture.experts ? "expert_feed_forward_length" : "feed_forward_length"));
  sizes.layers = positive(reader, prefix + "block_count");
  sizes.heads = positive(reader, prefix + "attention.head_count");
  const std::string kv_key = prefix + "attention.head_count_kv";
  sizes.kv_heads = reader.has(kv_key) ? positive(reader, kv_key) : sizes.heads;
  if (sizes.heads % sizes.kv_heads != 0) {
    fail(reader, cat("attention.head_count ", sizes.heads, " is not divisible by head_count_kv ", sizes.kv_heads));
  }
  sizes.head_dim = head_dim_of(reader, prefix, sizes.hidden, sizes.heads);
  sizes.context = positive(reader, prefix + "context_length");
  if (architecture.experts) {
    sizes.experts = positive(reader, prefix + "expert_count");
    sizes.experts_per_token = positive(reader, prefix + "expert_used_count");
  }
  const auto embedding = reader.tensors().find("token_embd.weight");
  if (embedding == reader.tensors().end()) fail(reader, "has no tensor 'token_embd.weight'");
  if (embedding->second.shape.size() != 2) fail(reader, "tensor 'token_embd.weight' is not a matrix");
  sizes.vocabulary = embedding->second.shape[0];
  return sizes;
}

bool gguf_attention_bias(const GgufReader& reader, const GgufArchitecture& architecture) {
  return !architecture.qkv_bias && reader.tensors().count("blk.0.attn_q.bias") > 0;
}

json gguf_model_config(const GgufReader& reader, const std::string& dtype) {
  for (const char* known : {"bfloat16", "float16", "float32"}) {
    if (dtype == known) return ConfigMaker(reader, dtype).make();
  }
  throw base::ConfigError(cat("dtype '", dtype, "' is not supported (one of bfloat16, float16, float32)"));
}

}  // namespace rqat::io
