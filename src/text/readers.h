// One reader for each kind of file a tokenizer comes in.
#pragma once

#include <filesystem>

#include "text/bpe_tokenizer.h"

namespace rqat::text {

/// tokenizer.json of the `tokenizers` library.
BpeParts read_tokenizer_json(const std::filesystem::path& path);
/// vocab.json + merges.txt, as slow tokenizers are stored; tokenizer_config.json names the class.
BpeParts read_vocab_and_merges(const std::filesystem::path& folder);
/// bos_token and eos_token of a tokenizer_config.json; nothing when the file is missing.
void read_special_roles(const std::filesystem::path& config_path, BpeParts& parts);
/// Metadata tokenizer.ggml.* of a GGUF file.
BpeParts read_gguf_vocabulary(const std::filesystem::path& path);

}  // namespace rqat::text
