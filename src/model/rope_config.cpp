#include "rope_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "rqat/base/strings.h"

namespace rqat::model {
namespace {

using nlohmann::json;
using nn::RopeParameters;
using nn::RopeScaling;

const std::map<std::string, RopeScaling>& scalings() {
  static const std::map<std::string, RopeScaling> kinds{
      {"default", RopeScaling::kNone}, {"linear", RopeScaling::kLinear},     {"llama3", RopeScaling::kLlama3},
      {"yarn", RopeScaling::kYarn},    {"longrope", RopeScaling::kLongRope}, {"su", RopeScaling::kLongRope}};
  return kinds;
}

/// Fields of a scaling beside its kind, rope_theta and partial_rotary_factor.
std::vector<std::string> fields_of(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::kNone:
      return {};
    case RopeScaling::kLinear:
      return {"factor"};
    case RopeScaling::kLlama3:
      return {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"};
    case RopeScaling::kYarn:
      return {"factor",           "original_max_position_embeddings",
              "attention_factor", "beta_fast",
              "beta_slow",        "mscale",
              "mscale_all_dim",   "truncate"};
    case RopeScaling::kLongRope:
      return {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"};
  }
  return {};
}

void check_fields(const ConfigReader& rope, RopeScaling scaling, const std::string& type) {
  std::vector<std::string> known = fields_of(scaling);
  known.insert(known.end(), {"rope_type", "type", "rope_theta", "partial_rotary_factor"});
  // Where nothing is scaled, factors of a scaling that was switched off say nothing.
  if (scaling == RopeScaling::kNone) known.insert(known.end(), {"factor", "original_max_position_embeddings"});
  for (const std::string& name : rope.names()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      rope.fail(name, base::cat("not a field of rope scaling '", type, "' that rqat knows"));
    }
  }
}

void check_factors(const ConfigReader& rope, const RopeParameters& p) {
  const bool needs_factor = p.scaling == RopeScaling::kLinear || p.scaling == RopeScaling::kLlama3;
  if (needs_factor && p.factor == 0) rope.fail("factor", "missing; the scaling is not known without it");
  if (p.scaling == RopeScaling::kLlama3 && p.high_frequency_factor <= p.low_frequency_factor) {
    rope.fail("high_freq_factor", base::cat("expected more than low_freq_factor ", p.low_frequency_factor, ", got ",
                                            p.high_frequency_factor));
  }
  if (p.scaling != RopeScaling::kLongRope) return;
  if (p.short_factor.empty()) rope.fail("short_factor", "missing; longrope needs it");
  if (p.long_factor.empty()) rope.fail("long_factor", "missing; longrope needs it");
}

/// One set of rope fields, over what `p` holds already.
void read_parameters(const ConfigReader& rope, RopeParameters& p) {
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  const auto found = scalings().find(type);
  if (found == scalings().end()) {
    std::vector<std::string> names;
    for (const auto& [name, scaling] : scalings()) names.push_back(name);
    rope.fail("rope_type", base::cat("rope scaling '", type, "' is not supported; ", base::join(names, ", "), " are"));
  }
  p.scaling = found->second;
  check_fields(rope, p.scaling, type);
  p.theta = rope.number("rope_theta", p.theta);
  p.rotated_part = rope.number("partial_rotary_factor", p.rotated_part);
  p.factor = rope.number("factor", p.factor);
  p.original_length = rope.size("original_max_position_embeddings", p.original_length);
  p.low_frequency_factor = rope.number("low_freq_factor", p.low_frequency_factor);
  p.high_frequency_factor = rope.number("high_freq_factor", p.high_frequency_factor);
  p.beta_fast = rope.number("beta_fast", p.beta_fast);
  p.beta_slow = rope.number("beta_slow", p.beta_slow);
  p.mscale = rope.number("mscale", p.mscale);
  p.mscale_all_dim = rope.number("mscale_all_dim", p.mscale_all_dim);
  p.truncate = rope.flag("truncate", p.truncate);
  p.attention_factor = rope.number("attention_factor", p.attention_factor);
  p.short_factor = rope.numbers("short_factor");
  p.long_factor = rope.numbers("long_factor");
  check_factors(rope, p);
}

void read_object(const ConfigReader& reader, const std::string& field, ModelConfig& config) {
  const json* value = reader.find(field);
  if (!value) return;
  const ConfigReader rope(*value, base::cat(reader.place(), ": ", field));
  const bool nested = rope.find("full_attention") || rope.find("sliding_attention");
  if (!nested) return read_parameters(rope, config.rope);
  if (!config.local_rope) {
    rope.fail("sliding_attention", "rope that differs by kind of layer is not supported for " + config.model_type);
  }
  for (const std::string& kind : rope.names()) {
    if (kind != "full_attention" && kind != "sliding_attention") {
      rope.fail(kind, "expected full_attention and sliding_attention alone");
    }
    RopeParameters& target = kind == "full_attention" ? config.rope : *config.local_rope;
    read_parameters(ConfigReader(*rope.find(kind), base::cat(rope.place(), ": ", kind)), target);
  }
}

void check_rotated_part(const ConfigReader& reader, bool partial, double part, const ModelConfig& config) {
  if (part == 1) return;
  if (!partial) reader.fail("partial_rotary_factor", "only 1 is supported for " + config.model_type);
  const auto rotated = static_cast<int64_t>(static_cast<double>(config.head_dim) * part);
  if (part > 1 || rotated <= 0 || rotated % 2 != 0) {
    reader.fail("partial_rotary_factor", base::cat("expected a part <= 1 that leaves an even number of the ",
                                                   config.head_dim, " dimensions of a head, got ", part));
  }
}

}  // namespace

void read_rope(const ConfigReader& reader, bool partial, ModelConfig& config) {
  config.rope.theta = reader.number("rope_theta", config.rope.theta);
  config.rope.rotated_part = reader.number("partial_rotary_factor", config.rope.rotated_part);
  if (config.local_rope) config.local_rope->theta = reader.number("rope_local_base_freq", config.local_rope->theta);
  for (const char* field : {"rope_scaling", "rope_parameters"}) read_object(reader, field, config);
  // Phi-3 keeps the length beside the factors, where it wins.
  config.rope.original_length = reader.size("original_max_position_embeddings", config.rope.original_length);
  check_rotated_part(reader, partial, config.rope.rotated_part, config);
  if (!config.local_rope) return;
  if (config.local_rope->theta == 0) config.local_rope->theta = config.rope.theta;
  check_rotated_part(reader, partial, config.local_rope->rotated_part, config);
}

}  // namespace rqat::model
