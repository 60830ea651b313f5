// One reader for each kind of file a tokenizer comes in.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "text/pipeline_tokenizer.h"

namespace rqat::text {

/// tokenizer.json of the `tokenizers` library.
TokenizerParts read_tokenizer_json(const std::filesystem::path& path);
/// Its content; `source` begins messages.
TokenizerParts parse_tokenizer_json(const nlohmann::json& root, const std::string& source);
/// vocab.json + merges.txt, as slow tokenizers are stored; tokenizer_config.json names the class, GPT-2 without one.
TokenizerParts read_vocab_and_merges(const std::filesystem::path& folder);
/// bos_token and eos_token of a tokenizer_config.json; nothing when the file is missing.
void read_special_roles(const std::filesystem::path& config_path, TokenizerParts& parts);
/// Ranks in base64, Llama 3's tokenizer.model.
bool is_tiktoken_file(const std::filesystem::path& path);
TokenizerParts read_tiktoken(const std::filesystem::path& path);
/// tokenizer.model with the added tokens and roles of tokenizer_config.json.
std::unique_ptr<Tokenizer> read_sentencepiece_folder(const std::filesystem::path& folder);
/// Metadata tokenizer.ggml.* of a GGUF file.
TokenizerParts read_gguf_vocabulary(const std::filesystem::path& path);

}  // namespace rqat::text
