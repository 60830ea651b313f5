#include "rqat/quant/policy.h"

#include <set>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::quant {

namespace {

using base::cat;

/// `*` matches any text, also none.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }
std::string parent_part(const std::string& name) { return name.substr(0, name.rfind('.')); }

/// Engines compute these as one matrix, so their formats must agree.
const std::vector<std::set<std::string>>& fused_sets() {
  static const std::vector<std::set<std::string>> sets{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}};
  return sets;
}

/// What an override says: a changed format, or nothing = float. Its faults go to `faults`.
std::optional<QuantFormat> read_override(const QuantFormat& format, const base::Node::Entry& entry,
                                         base::Faults& faults) {
  if (entry.value.is_scalar() && entry.value.value() == "none") return std::nullopt;
  QuantFormat changed = format;
  base::read_config(changed, entry.value, cat("overrides.", entry.key), faults);
  return changed;
}

std::string format_text(const std::optional<QuantFormat>& format) { return format ? format->text() : "float"; }

}  // namespace

void QuantPolicy::fields(base::FieldVisitor& v) {
  QuantFormat::fields(v);
  v.tree("overrides", overrides,
         "map of layer-name pattern (`*` = any text) to format fields, or to `none` = keep in float");
}

std::vector<std::string> QuantPolicy::check() const {
  std::vector<std::string> faults = QuantFormat::check();
  if (!overrides.is_null() && !overrides.is_map()) {
    faults.push_back(cat("overrides: a map of patterns is expected, found ", overrides.describe()));
    return faults;
  }
  base::Faults found;
  for (const base::Node::Entry& entry : overrides.entries()) read_override(*this, entry, found);
  faults.insert(faults.end(), found.lines().begin(), found.lines().end());
  return faults;
}

std::optional<QuantFormat> QuantPolicy::format_for(const std::string& name) const {
  std::optional<QuantFormat> format = static_cast<const QuantFormat&>(*this);
  for (const base::Node::Entry& entry : overrides.entries()) {
    if (!matches(entry.key, name)) continue;
    base::Faults faults;
    format = read_override(*this, entry, faults);
    faults.raise("quantization policy");
  }
  return format;
}

std::vector<std::string> QuantPolicy::faults(const std::vector<nn::LinearSpec>& layers) const {
  std::vector<std::string> faults;
  for (const base::Node::Entry& entry : overrides.entries()) {
    bool used = false;
    for (const nn::LinearSpec& layer : layers) used = used || matches(entry.key, layer.name);
    if (!used)
      faults.push_back(cat("override '", entry.key, "' matches no layer (layers look like ",
                           layers.empty() ? "-" : layers[0].name, ")"));
  }
  std::map<std::string, std::pair<std::string, std::optional<QuantFormat>>>
      first;  // fused set -> its first layer and format
  for (const nn::LinearSpec& layer : layers) {
    for (size_t i = 0; i < fused_sets().size(); ++i) {
      if (fused_sets()[i].count(last_part(layer.name)) == 0) continue;
      const auto format = format_for(layer.name);
      const auto [place, fresh] = first.try_emplace(cat(parent_part(layer.name), "#", i), layer.name, format);
      if (!fresh && !(place->second.second == format)) {
        faults.push_back(cat(place->second.first, " is ", format_text(place->second.second), " but ", layer.name,
                             " is ", format_text(format), ": engines fuse them, give them one format"));
      }
    }
  }
  return faults;
}

QuantLayerFactory::QuantLayerFactory(const QuantPolicy& policy, const base::Component& estimator)
    : policy_(policy), estimator_(estimators().make(estimator)) {}

QuantLayerFactory::QuantLayerFactory(std::map<std::string, QuantFormat> formats, const base::Component& estimator)
    : formats_(std::move(formats)), estimator_(estimators().make(estimator)) {}

std::unique_ptr<nn::LinearBase> QuantLayerFactory::linear(const nn::LinearSpec& spec) {
  std::optional<QuantFormat> format;
  if (policy_) {
    format = policy_->format_for(spec.name);
  } else if (const auto found = formats_.find(spec.name); found != formats_.end()) {
    format = found->second;
  }
  if (!format) return std::make_unique<nn::FloatLinear>(spec);
  std::shared_ptr<Quantizer> quantizer = quantizers().make(format->quantizer);
  auto layer = std::make_unique<FakeQuantLinear>(spec, *format, std::move(quantizer), estimator_);
  if (!policy_) layer->await_state();
  return layer;
}

}  // namespace rqat::quant
