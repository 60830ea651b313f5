// Pre-tokenizers of vocabularies that come without a tokenizer.json.
#pragma once

#include "text/pipeline_tokenizer.h"

namespace rqat::text {

enum class Preset { kGpt2, kQwen2, kLlama3 };
/// Fills pre-tokenizer, normalizer, decoder and merge rule of `parts`.
void apply_preset(Preset preset, TokenizerParts& parts);

}  // namespace rqat::text
