#include "text/presets.h"

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::text {
namespace {

enum class Splitting { kGpt2, kDigitsThenGpt2, kQwen2, kLlama3 };

struct Preset {
  const char* name;
  Splitting splitting;
  bool nfc;
  bool ignore_merges;
};

constexpr Preset kPresets[] = {
    {"gpt-2", Splitting::kGpt2, false, false},
    {"mpt", Splitting::kGpt2, false, false},
    {"smollm", Splitting::kDigitsThenGpt2, false, false},
    {"starcoder", Splitting::kDigitsThenGpt2, false, false},
    {"refact", Splitting::kDigitsThenGpt2, false, false},
    {"qwen2", Splitting::kQwen2, true, false},
    {"deepseek-r1-qwen", Splitting::kQwen2, true, false},
    {"llama-bpe", Splitting::kLlama3, false, true},
    {"llama3", Splitting::kLlama3, false, true},
    {"llama-v3", Splitting::kLlama3, false, true},
};

// cl100k's pattern; Qwen2 isolates single digits where Llama 3 takes up to three.
std::string cl100k_pattern(const char* digits) {
  return base::cat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)", digits,
                   R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
}

}  // namespace

std::vector<std::string> known_presets() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

void apply_preset(const std::string& name, BpeParts& parts) {
  const auto* preset =
      std::find_if(std::begin(kPresets), std::end(kPresets), [&](const Preset& p) { return name == p.name; });
  if (preset == std::end(kPresets)) {
    throw base::IoError(base::cat(parts.source, ": pre-tokenizer '", name, "' is not supported; known are ",
                                  base::join(known_presets(), ", ")));
  }
  parts.nfc = preset->nfc;
  parts.ignore_merges = preset->ignore_merges;
  if (preset->splitting == Splitting::kGpt2 || preset->splitting == Splitting::kDigitsThenGpt2) {
    if (preset->splitting == Splitting::kDigitsThenGpt2) parts.pre_tokenizer.add_digits(true);
    parts.pre_tokenizer.set_byte_level(false, true);
    return;
  }
  const char* digits = preset->splitting == Splitting::kQwen2 ? R"(\p{N})" : R"(\p{N}{1,3})";
  parts.pre_tokenizer.add_split(Regex(cl100k_pattern(digits), parts.source), SplitBehavior::kIsolated, false);
  parts.pre_tokenizer.set_byte_level(false, false);
}

}  // namespace rqat::text
