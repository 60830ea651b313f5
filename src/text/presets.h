// Pre-tokenizers known by name: GGUF files and slow-tokenizer folders name them instead of spelling them out.
#pragma once

#include <string>
#include <vector>

#include "text/bpe_tokenizer.h"

namespace rqat::text {

/// Names that GGUF's tokenizer.ggml.pre may have here.
std::vector<std::string> known_presets();
/// Fills pre-tokenizer, normalizer and merge rule of `parts`. Throws IoError that lists the known names.
void apply_preset(const std::string& name, BpeParts& parts);

}  // namespace rqat::text
