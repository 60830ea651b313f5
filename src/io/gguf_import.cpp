#include "rqat/io/gguf_import.h"

#include <ATen/ATen.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;
using nlohmann::json;

struct Architecture {
  const char* name;  ///< in both GGUF and HF (model_type)
  const char* class_name;
  bool permutes_heads;  ///< llama.cpp interleaves the two halves of each q/k head for its rotary order
  bool has_qkv_bias;    ///< always; the others have biases on q, k, v and o, or none (attention_bias)
  bool has_qk_norm;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "LlamaForCausalLM", true, false, false},
    {"qwen2", "Qwen2ForCausalLM", false, true, false},
    {"qwen3", "Qwen3ForCausalLM", false, false, true},
};

[[noreturn]] void fail(const GgufReader& reader, const std::string& why) {
  throw IoError(cat(reader.path().string(), ": ", why));
}

const Architecture& architecture_of(const GgufReader& reader) {
  const std::string& name = reader.text("general.architecture");
  std::vector<std::string> names;
  for (const auto& known : kArchitectures) {
    if (name == known.name) return known;
    names.emplace_back(known.name);
  }
  fail(reader, cat("architecture '", name, "' is not supported (one of ", base::join(names, ", "), ")"));
}

/// The numbers that the shapes follow from.
struct Sizes {
  int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, context;
};

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

Sizes sizes_of(const GgufReader& reader) {
  const std::string prefix = reader.text("general.architecture") + ".";
  Sizes sizes{};
  sizes.hidden = positive(reader, prefix + "embedding_length");
  sizes.intermediate = positive(reader, prefix + "feed_forward_length");
  sizes.layers = positive(reader, prefix + "block_count");
  sizes.heads = positive(reader, prefix + "attention.head_count");
  const std::string kv_key = prefix + "attention.head_count_kv";
  sizes.kv_heads = reader.has(kv_key) ? positive(reader, kv_key) : sizes.heads;
  if (sizes.heads % sizes.kv_heads != 0) {
    fail(reader, cat("attention.head_count ", sizes.heads, " is not divisible by head_count_kv ", sizes.kv_heads));
  }
  sizes.head_dim = head_dim_of(reader, prefix, sizes.hidden, sizes.heads);
  sizes.context = positive(reader, prefix + "context_length");
  const auto embedding = reader.tensors().find("token_embd.weight");
  if (embedding == reader.tensors().end()) fail(reader, "has no tensor 'token_embd.weight'");
  if (embedding->second.shape.size() != 2) fail(reader, "tensor 'token_embd.weight' is not a matrix");
  sizes.vocabulary = embedding->second.shape[0];
  return sizes;
}

bool has_attention_bias(const GgufReader& reader, const Architecture& architecture) {
  return !architecture.has_qkv_bias && reader.tensors().count("blk.0.attn_q.bias") > 0;
}

/// Where a tensor comes from, and what it must look like.
struct Source {
  std::string name;  ///< in the GGUF file
  std::vector<int64_t> shape;
  int64_t permuted_heads = 0;  ///< > 0: rows are in llama.cpp's rotary order, this many heads
};
using Plan = std::map<std::string, Source>;  ///< by HF name

/// HF and GGUF names of a block's tensors, in one place.
class PlanBuilder {
 public:
  PlanBuilder(const GgufReader& reader, const Architecture& architecture, const Sizes& sizes)
      : reader_(reader),
        architecture_(architecture),
        sizes_(sizes),
        has_attention_bias_(has_attention_bias(reader, architecture)) {}

  Plan build() {
    add("model.embed_tokens.weight", "token_embd.weight", {sizes_.vocabulary, sizes_.hidden});
    add("model.norm.weight", "output_norm.weight", {sizes_.hidden});
    if (reader_.tensors().count("output.weight") > 0) {
      add("lm_head.weight", "output.weight", {sizes_.vocabulary, sizes_.hidden});
    }
    for (int64_t layer = 0; layer < sizes_.layers; ++layer) add_block(layer);
    check_all_used();
    return std::move(plan_);
  }

 private:
  void add_block(int64_t layer) {
    const std::string hf = cat("model.layers.", layer, ".");
    const std::string gguf = cat("blk.", layer, ".");
    const int64_t q_rows = sizes_.heads * sizes_.head_dim;
    const int64_t kv_rows = sizes_.kv_heads * sizes_.head_dim;
    const bool permutes = architecture_.permutes_heads;
    add_projection(hf + "self_attn.q_proj", gguf + "attn_q", q_rows, permutes ? sizes_.heads : 0);
    add_projection(hf + "self_attn.k_proj", gguf + "attn_k", kv_rows, permutes ? sizes_.kv_heads : 0);
    add_projection(hf + "self_attn.v_proj", gguf + "attn_v", kv_rows, 0);
    add(hf + "self_attn.o_proj.weight", gguf + "attn_output.weight", {sizes_.hidden, q_rows});
    if (has_attention_bias_) add(hf + "self_attn.o_proj.bias", gguf + "attn_output.bias", {sizes_.hidden});
    if (architecture_.has_qk_norm) {
      add(hf + "self_attn.q_norm.weight", gguf + "attn_q_norm.weight", {sizes_.head_dim});
      add(hf + "self_attn.k_norm.weight", gguf + "attn_k_norm.weight", {sizes_.head_dim});
    }
    add(hf + "mlp.gate_proj.weight", gguf + "ffn_gate.weight", {sizes_.intermediate, sizes_.hidden});
    add(hf + "mlp.up_proj.weight", gguf + "ffn_up.weight", {sizes_.intermediate, sizes_.hidden});
    add(hf + "mlp.down_proj.weight", gguf + "ffn_down.weight", {sizes_.hidden, sizes_.intermediate});
    add(hf + "input_layernorm.weight", gguf + "attn_norm.weight", {sizes_.hidden});
    add(hf + "post_attention_layernorm.weight", gguf + "ffn_norm.weight", {sizes_.hidden});
  }

  void add_projection(const std::string& hf, const std::string& gguf, int64_t rows, int64_t permuted_heads) {
    add(hf + ".weight", gguf + ".weight", {rows, sizes_.hidden}, permuted_heads);
    if (architecture_.has_qkv_bias || has_attention_bias_) add(hf + ".bias", gguf + ".bias", {rows}, permuted_heads);
  }

  void add(const std::string& hf, const std::string& gguf, std::vector<int64_t> shape, int64_t permuted_heads = 0) {
    const auto found = reader_.tensors().find(gguf);
    if (found == reader_.tensors().end()) fail(reader_, cat("has no tensor '", gguf, "'"));
    if (found->second.shape != shape) {
      fail(reader_, cat("tensor '", gguf, "' has shape ", at::IntArrayRef(found->second.shape), ", the metadata say ",
                        at::IntArrayRef(shape)));
    }
    used_.insert(gguf);
    plan_[hf] = Source{gguf, std::move(shape), permuted_heads};
  }

  /// A tensor that is left out would change the model without a word.
  void check_all_used() const {
    for (const auto& [name, info] : reader_.tensors()) {
      if (used_.count(name) > 0) continue;
      fail(reader_, cat("tensor '", name, "' has no place in a ", architecture_.class_name,
                        name == "rope_freqs.weight" ? " (scaled rotary embeddings are not supported)" : ""));
    }
  }

  const GgufReader& reader_;
  const Architecture& architecture_;
  const Sizes& sizes_;
  bool has_attention_bias_;
  Plan plan_;
  std::set<std::string> used_;
};

/// Rows from llama.cpp's order (head, pair, half) to HF's (head, half, pair).
at::Tensor unpermute_heads(const at::Tensor& tensor, int64_t heads) {
  const int64_t pairs = tensor.size(0) / heads / 2;
  return tensor.reshape({heads, pairs, 2, -1}).transpose(1, 2).reshape(tensor.sizes());
}

at::ScalarType dtype_of(const std::string& name) {
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  if (name == "float32") return at::kFloat;
  throw base::ConfigError(cat("dtype '", name, "' is not supported (one of bfloat16, float16, float32)"));
}

void write_weights(const GgufReader& reader, const std::filesystem::path& path, at::ScalarType dtype) {
  const Plan plan = PlanBuilder(reader, architecture_of(reader), sizes_of(reader)).build();
  std::map<std::string, TensorInfo> layout;
  for (const auto& [name, source] : plan) layout[name] = TensorInfo{dtype, source.shape, 0, 0};
  base::Progress progress("importing", static_cast<int64_t>(plan.size()));
  int64_t done = 0;
  write_safetensors_streamed(path, layout, [&](const std::string& name) {
    progress.update(++done);
    const Source& source = plan.at(name);
    at::Tensor tensor = reader.read(source.name).to(dtype);
    return source.permuted_heads > 0 ? unpermute_heads(tensor, source.permuted_heads) : tensor;
  });
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

void check_rope(const GgufReader& reader, const std::string& prefix) {
  const std::string key = prefix + "rope.scaling.type";
  if (!reader.has(key) || reader.text(key) == "none") return;
  fail(reader, cat(key, " is '", reader.text(key), "', scaled rotary embeddings are not supported"));
}

}  // namespace

json gguf_model_config(const GgufReader& reader, const std::string& dtype) {
  dtype_of(dtype);
  const Architecture& architecture = architecture_of(reader);
  const Sizes sizes = sizes_of(reader);
  const std::string prefix = std::string(architecture.name) + ".";
  check_rope(reader, prefix);
  const std::string rope_key = prefix + "rope.freq_base";
  constexpr double kDefaultRopeBase = 10000.0;  // of ggml
  json config = {
      {"architectures", {architecture.class_name}},
      {"model_type", architecture.name},
      {"torch_dtype", dtype},
      {"hidden_size", sizes.hidden},
      {"intermediate_size", sizes.intermediate},
      {"num_hidden_layers", sizes.layers},
      {"num_attention_heads", sizes.heads},
      {"num_key_value_heads", sizes.kv_heads},
      {"head_dim", sizes.head_dim},
      {"vocab_size", sizes.vocabulary},
      {"max_position_embeddings", sizes.context},
      {"rms_norm_eps", shortest_decimal(reader.number(prefix + "attention.layer_norm_rms_epsilon"))},
      {"rope_theta", reader.has(rope_key) ? shortest_decimal(reader.number(rope_key)) : kDefaultRopeBase},
      {"rope_scaling", nullptr},
      {"tie_word_embeddings", reader.tensors().count("output.weight") == 0},
      {"hidden_act", "silu"},
      {"attention_bias", has_attention_bias(reader, architecture)},
      {"attention_dropout", 0.0},
      {"initializer_range", 0.02},
      {"use_cache", true},
  };
  if (std::string(architecture.name) == "llama") config["mlp_bias"] = false;
  const std::pair<const char*, const char*> kIds[] = {
      {"bos_token_id", "bos"}, {"eos_token_id", "eos"}, {"pad_token_id", "padding"}};
  for (const auto& [name, key] : kIds) {
    const std::string full_key = cat("tokenizer.ggml.", key, "_token_id");
    if (reader.has(full_key)) config[name] = reader.integer(full_key);
  }
  return config;
}

void import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& folder, const std::string& dtype) {
  const at::ScalarType scalar_type = dtype_of(dtype);
  const GgufReader reader(gguf);
  const json config = gguf_model_config(reader, dtype);
  const json generation_config = gguf_generation_config(reader);
  const json tokenizer = gguf_tokenizer_json(reader);
  const json tokenizer_config = gguf_tokenizer_config(reader);
  base::write_folder(folder, [&](const std::filesystem::path& target) {
    write_json(target / "config.json", config);
    write_json(target / "generation_config.json", generation_config);
    write_json(target / "tokenizer.json", tokenizer);
    write_json(target / "tokenizer_config.json", tokenizer_config);
    if (reader.has("tokenizer.chat_template")) {
      base::write_file(target / "chat_template.jinja", reader.text("tokenizer.chat_template"));
    }
    write_weights(reader, target / "model.safetensors", scalar_type);
  });
}

}  // namespace rqat::io
