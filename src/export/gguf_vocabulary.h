// Tokenizer and chat template of a Hugging Face folder as GGUF metadata.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "rqat/io/gguf_writer.h"

namespace rqat::exporting {

/// Adds tokenizer.ggml.* and tokenizer.chat_template. BPE only: byte-level, or of sentencepiece. `vocab_size`: rows of
/// the embedding; ids without a token are padded. `pre_tokenizer`: llama.cpp's name of the splitting rule, "auto" =
/// found from tokenizer.json. Throws IoError: no tokenizer.json, another kind of tokenizer, a splitting rule without a
/// known name, more tokens than rows.
void add_vocabulary(io::GgufMetadata& metadata, const std::filesystem::path& source, int64_t vocab_size,
                    const std::string& pre_tokenizer);

/// llama.cpp's names that `pre_tokenizer` takes, "auto" first.
const std::vector<std::string>& pre_tokenizer_names();

}  // namespace rqat::exporting
