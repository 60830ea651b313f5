// GGUF for llama.cpp, block by block from the codes: nothing is searched again.
//
//   2 bits symmetric   Q2_0 (groups of 64 n), else Q4_0       3 bits          Q4_0
//   2 bits asymmetric  Q2_K (groups of 256 n), else Q4_0      4 symmetric     Q4_0
//   8 bits symmetric   Q8_0                                   4 asymmetric    Q4_K (groups of 256 n), else Q4_1
//
// All hold s (q - z) exactly but Q4_1, whose minimum -s z is rounded to float16: up to 15/2048 of a step.
#include <ATen/ATen.h>

#include <map>
#include <set>

#include "folder.h"
#include "gguf_blocks.h"
#include "gguf_names.h"
#include "gguf_stored.h"
#include "gguf_vocabulary.h"
#include "layers.h"
#include "round_trip.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "serving.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using quant::FakeQuantLinear;

constexpr const char* kFileName = "model.gguf";
constexpr uint32_t kF32 = 0, kF16 = 1, kQ8_0 = 8, kBF16 = 30;

struct GgufConfig : base::Config {
  std::string two_bit = "auto", three_bit = "q4_0", four_bit_asymmetric = "auto";
  std::string embedding_type = "auto", pre_tokenizer = "auto";
  void fields(base::FieldVisitor& v) override {
    v.choice("two_bit", two_bit, {"auto", "q2_0", "q4_0", "tq2_0"},
             "blocks of 2-bit layers; q4_0 is read by older llama.cpp, tq2_0 holds ternary codes; all exact");
    v.choice("three_bit", three_bit, {"q4_0", "q3_k"},
             "blocks of 3-bit layers; q3_k (symmetric, groups of 256 n) is smaller; both exact");
    v.choice("four_bit_asymmetric", four_bit_asymmetric, {"auto", "q4_1", "q5_0", "q4_k"},
             "blocks of asymmetric 4-bit layers; q4_1 rounds group minima to float16, the others are exact");
    v.choice("embedding_type", embedding_type, {"auto", "f32", "f16", "bf16", "q8_0"},
             "type of embedding and head; auto = as trained, f16 and q8_0 round them");
    v.choice("pre_tokenizer", pre_tokenizer, pre_tokenizer_names(),
             "llama.cpp's name of the tokenizer's splitting rule; auto = found from tokenizer.json");
  }
};

/// A float tensor as the bytes of a ggml type.
at::Tensor float_bytes(const at::Tensor& tensor, uint32_t type) {
  if (type == kQ8_0) return encode_q8_0(tensor);
  const at::ScalarType dtype = type == kF32 ? at::kFloat : type == kF16 ? at::kHalf : at::kBFloat16;
  return tensor.to(at::kCPU, dtype).contiguous().view({-1}).view(at::kByte);
}

int64_t float_size(uint32_t type, int64_t values) {
  if (type == kQ8_0) return values / block_type("Q8_0").values * block_type("Q8_0").bytes;
  return values * (type == kF32 ? 4 : 2);
}

/// Tensors of the file in their order, and how each is made.
struct FilePlan {
  std::vector<io::GgufOutput> tensors;
  std::map<std::string, std::function<at::Tensor()>> make;
  std::map<int64_t, int64_t> bytes_by_file_type;

  void add(io::GgufOutput tensor, std::function<at::Tensor()> maker) {
    make[tensor.name] = std::move(maker);
    tensors.push_back(std::move(tensor));
  }
  /// What most of the file is made of.
  int64_t file_type(int64_t of_floats) const {
    int64_t type = of_floats, most = 0;
    for (const auto& [candidate, bytes] : bytes_by_file_type) {
      if (bytes > most) std::tie(type, most) = std::pair{candidate, bytes};
    }
    return type;
  }
};

class Gguf : public Exporter {
 public:
  explicit Gguf(GgufConfig config) : config_(std::move(config)) {}

  std::vector<std::string> check(const Linears& linears) const override {
    return layer_faults(linears, [this](const FakeQuantLinear& layer) {
      std::vector<std::string> faults = float16_faults(layer, "blocks of ggml");
      const std::string fault = fault_of(layer.format(), layer.spec().in_features);
      if (!fault.empty()) faults.push_back(fault);
      for (std::string& one : act_order_faults(layer, "GGUF")) faults.push_back(std::move(one));
      return faults;
    });
  }

  std::vector<std::string> check_architecture(const model::ModelConfig& config) const override {
    std::vector<std::string> faults = gguf_architecture_faults(config);
    if (config_.embedding_type == "q8_0" && config.hidden_size % 32 != 0)
      faults.push_back(
          cat("embedding_type q8_0 needs a hidden_size that is a multiple of 32, not ", config.hidden_size));
    return faults;
  }

  std::vector<StoredLinear> stored(model::CausalLM& model) const override {
    const io::GgufArchitecture& architecture = gguf_architecture(model.config());
    std::vector<StoredLinear> stored = stored_linears(
        model.linears(), [&](const std::string& name) { return gguf_tensor_name(architecture, name + ".weight"); });
    for (StoredLinear& linear : stored) {
      if (linear.parts.size() == 1) linear.name = linear.parts.front()->name();
    }
    return stored;
  }

  std::string home_engine() const override { return "llama.cpp"; }

  EngineAdvice advise(const std::string& engine, model::CausalLM& model, const fs::path& folder) const override {
    EngineAdvice advice;
    if (engine != "llama.cpp") {
      advice.faults.push_back(other_files_fault(engine));
      return advice;
    }
    std::set<std::string> types;
    for (nn::LinearBase* linear : model.linears()) {
      const FakeQuantLinear* layer = as_quantized(linear);
      if (layer) types.insert(type_for(layer->format(), layer->spec().in_features).name);
    }
    if (types.count("Q2_0") > 0) {
      advice.notes.emplace_back(
          "Q2_0 needs a llama.cpp of August 2026 or later; two_bit: q4_0 holds the same weights for older ones");
    }
    if (types.count("Q4_1") > 0) {
      advice.notes.emplace_back(
          "Q4_1 rounds the minimum of each group to float16: weights are off by up to 15/2048 of a step; "
          "four_bit_asymmetric: q5_0 is exact");
    }
    if (max_shard_bytes() != io::kModelShardBytes)
      advice.notes.emplace_back("a GGUF export is one file, whatever max_shard_size says");
    const int64_t context = gguf_context_length(model.config());
    if (context < model.config().max_position_embeddings) {
      advice.notes.push_back(cat("llama.cpp does not compute with the sliding window of ", context,
                                 " tokens: context_length is cut to it, within which nothing differs"));
    }
    advice.command = cat("llama-server -m ", shell_word(folder / kFileName), " -c ",
                         std::min(served_context(model), context), " --jinja");
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    const Linears linears = model.linears();
    raise_faults("gguf", export_faults(*this, model, ""));
    check_layers(linears, source);
    ExportReport report;
    const FilePlan plan = plan_file(model, report);
    const int64_t float_file_type = model.dtype() == at::kFloat ? 0 : 32;
    io::GgufMetadata metadata = gguf_model_metadata(model.config(), fs::weakly_canonical(source).filename().string(),
                                                    plan.file_type(float_file_type));
    add_vocabulary(metadata, source, model.config().vocab_size, config_.pre_tokenizer);
    write_single_file(source, folder, [&](const fs::path& fresh) {
      base::Progress progress("packing", static_cast<int64_t>(plan.tensors.size()));
      int64_t done = 0;
      io::write_gguf(fresh / kFileName, metadata, plan.tensors, [&](const std::string& name) {
        progress.update(++done);
        return plan.make.at(name)();
      });
    });
    report.total_bytes = base::folder_bytes(folder);
    describe_serving(*this, model, folder, report);
    return report;
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    const io::GgufReader reader(folder / kFileName);
    model::ModelConfig config = stored_config(reader, model.config());
    StoredModel stored;
    stored.config = [&] { return config; };
    const std::map<std::string, StoredRows> places = stored_rows(this->stored(model));
    stored.layer = [&](const FakeQuantLinear& layer) {
      return read_block_layer(reader, config, layer, places.at(layer.name()));
    };
    stored.tensor = [&](const std::string& name) { return read_float_tensor(reader, config, name, places); };
    return compare(model, reader.path(), probe, stored);
  }

 private:
  static bool fills_super_blocks(const quant::QuantFormat& format, int64_t columns) {
    const int64_t group = format.resolved_group(columns);
    return columns % 256 == 0 && (group == columns || group % 256 == 0);
  }

  const BlockType& two_bit_type(const quant::QuantFormat& format, int64_t columns) const {
    if (config_.two_bit == "q2_0") return block_type("Q2_0");
    if (config_.two_bit == "tq2_0") return block_type("TQ2_0");
    if (config_.two_bit == "q4_0") return block_type("Q4_0");
    if (!format.symmetric) return block_type(fills_super_blocks(format, columns) ? "Q2_K" : "Q4_0");
    return block_type(block_fault(block_type("Q2_0"), format, columns).empty() ? "Q2_0" : "Q4_0");
  }

  const BlockType& type_for(const quant::QuantFormat& format, int64_t columns) const {
    if (format.num_bits == 2) return two_bit_type(format, columns);
    if (format.num_bits == 3) return block_type(config_.three_bit == "q3_k" ? "Q3_K" : "Q4_0");
    if (format.num_bits > 4) return block_type("Q8_0");
    if (format.symmetric) return block_type("Q4_0");
    const std::string& wanted = config_.four_bit_asymmetric;
    if (wanted == "q5_0") return block_type("Q5_0");
    if (wanted == "q4_1") return block_type("Q4_1");
    return block_type(wanted == "q4_k" || fills_super_blocks(format, columns) ? "Q4_K" : "Q4_1");
  }

  std::string fault_of(const quant::QuantFormat& format, int64_t columns) const {
    const BlockType& type = type_for(format, columns);
    const auto [low, high] = step_range(format);
    const std::string name = type.name;
    if (name == "TQ2_0" && !format.symmetric) return "TQ2_0 holds ternary codes of symmetric formats only";
    // A ternary layer in a symmetric 2-bit format leaves out its lowest code; write() looks.
    if (name != "TQ2_0" && (low < type.low || high > type.high)) {
      return cat(format.text(), " has steps q - z of ", low, "..", high, ", and ", type.name, " holds ", type.low, "..",
                 type.high, "; use symmetric: true");
    }
    return block_fault(type, format, columns);
  }

  /// Throws DataError when a code has no place in the type.
  static void check_steps(const FakeQuantLinear& layer, const BlockType& type) {
    const auto [low, high] = step_range(layer.format());
    if (low >= type.low && high <= type.high) return;
    const at::Tensor steps = layer.codes().to(at::kInt) - (1 << (layer.format().num_bits - 1));
    const int64_t outside = steps.lt(type.low).logical_or(steps.gt(type.high)).sum().item<int64_t>();
    if (outside == 0) return;
    throw base::DataError(cat("layer ", layer.name(), ": ", outside, " of ", steps.numel(),
                              " codes stand for a step outside ", type.low, "..", type.high, ", which ", type.name,
                              " cannot hold; write it with two_bit: auto"));
  }

  FilePlan plan_file(model::CausalLM& model, ExportReport& report) const {
    FilePlan plan;
    for (const auto& [name, tensor] : other_tensors(model)) plan_float(model, name, tensor, plan);
    const at::Tensor factors = gguf_rope_factors(model.config());
    if (factors.defined()) {
      plan.add({"rope_freqs.weight", kF32, factors.sizes().vec(), float_size(kF32, factors.numel())},
               [factors] { return float_bytes(factors, kF32); });
    }
    for (const StoredLinear& linear : stored(model)) report.layers.push_back(plan_linear(model.config(), linear, plan));
    return plan;
  }

  /// Norms, biases and routers are float32 in every file that llama.cpp reads.
  uint32_t float_type(const model::CausalLM& model, const std::string& name, bool matrix) const {
    if (!matrix || name.find(".mlp.gate.") != std::string::npos) return kF32;
    const bool table = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    const std::string wanted = table ? config_.embedding_type : "auto";
    if (wanted == "f32") return kF32;
    if (wanted == "f16") return kF16;
    if (wanted == "q8_0") return kQ8_0;
    return wanted == "auto" && model.dtype() == at::kFloat ? kF32 : kBF16;
  }

  void plan_float(const model::CausalLM& model, const std::string& name, const at::Tensor& tensor,
                  FilePlan& plan) const {
    const uint32_t type = float_type(model, name, tensor.dim() > 1);
    const int64_t heads = permuted_heads(model.config(), name), added = stored_plus_one(model.config(), name) ? 1 : 0;
    plan.add({gguf_tensor_name(gguf_architecture(model.config()), name), type, tensor.sizes().vec(),
              float_size(type, tensor.numel())},
             [tensor, type, heads, added] {
               const at::Tensor rows = io::permute_rows(tensor, heads);
               return float_bytes(added > 0 ? rows.to(at::kFloat) + added : rows, type);
             });
  }

  /// [rows, columns]; with a dimension of experts before them where these stand in one tensor.
  static std::vector<int64_t> shape_of(const model::ModelConfig& config, const StoredLinear& linear) {
    const auto count = static_cast<int64_t>(linear.parts.size());
    if (count == 1 || !gguf_architecture(config).experts) return {linear.rows(), linear.columns()};
    return {count, linear.rows() / count, linear.columns()};
  }

  ExportReport::Layer plan_linear(const model::ModelConfig& config, const StoredLinear& linear, FilePlan& plan) const {
    const std::string name = linear.parts.front()->name() + ".weight";
    const std::string stored = gguf_tensor_name(gguf_architecture(config), name);
    const std::vector<int64_t> shape = shape_of(config, linear);
    const int64_t heads = permuted_heads(config, name);
    const FakeQuantLinear* layer = linear.quantized();
    if (!layer) {
      const uint32_t type = linear.dense_weight().scalar_type() == at::kFloat ? kF32 : kBF16;
      const int64_t bytes = float_size(type, linear.rows() * linear.columns());
      plan.add({stored, type, shape, bytes},
               [linear, type, heads] { return float_bytes(io::permute_rows(linear.dense_weight(), heads), type); });
      return {linear.name, "float", "float", bytes};
    }
    const int64_t columns = linear.columns();
    const BlockType& type = type_for(layer->format(), columns);
    for (nn::LinearBase* part : linear.parts) check_steps(*as_quantized(part), type);
    const int64_t bytes = linear.rows() * columns / type.values * type.bytes;
    plan.bytes_by_file_type[type.file_type] += bytes;
    plan.add({stored, type.id, shape, bytes}, [linear, layer, &type, heads, columns] {
      const quant::QuantParams params = linear.params();
      return encode_blocks(type, io::permute_rows(linear.codes(), heads),
                           {io::permute_rows(params.scale, heads), io::permute_rows(params.zero_point, heads)},
                           layer->format().resolved_group(columns));
    });
    return {linear.name, linear.format_text(), type.name, bytes};
  }

  GgufConfig config_;
};

}  // namespace

base::Entry<Exporter> gguf_entry() {
  return base::make_entry<base::Entry<Exporter>, GgufConfig>(
      "gguf", "one file for llama.cpp, its blocks written from the codes", "",
      [](const GgufConfig& config) { return std::make_unique<Gguf>(config); });
}

}  // namespace rqat::exporting
