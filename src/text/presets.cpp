#include "text/presets.h"

#include "rqat/base/strings.h"

namespace rqat::text {
namespace {

// cl100k's pattern; Qwen2 isolates single digits where Llama 3 takes up to three.
std::string cl100k_pattern(const char* digits) {
  return base::cat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)", digits,
                   R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
}

}  // namespace

void apply_preset(Preset preset, TokenizerParts& parts) {
  parts.decoder.set_byte_level();
  parts.model.ignore_merges = preset == Preset::kLlama3;
  if (preset == Preset::kGpt2) return parts.pre_tokenizer.add_byte_level(false, true);
  const bool qwen = preset == Preset::kQwen2;
  if (qwen) parts.normalizer.add([](std::string text) { return is_ascii(text) ? text : to_nfc(text); });
  const std::string pattern = cl100k_pattern(qwen ? R"(\p{N})" : R"(\p{N}{1,3})");
  parts.pre_tokenizer.add_split(Regex(pattern, parts.source), SplitBehavior::kIsolated, false);
  parts.pre_tokenizer.add_byte_level(false, false);
}

}  // namespace rqat::text
