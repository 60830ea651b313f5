// GGUF checkpoint -> HF folder.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace rqat::io {

class GgufReader;

/// Writes config.json, generation_config.json, model.safetensors (`dtype`: bfloat16 | float16 | float32),
/// tokenizer.json, tokenizer_config.json (with chat_template) and chat_template.jinja from a GGUF file into `folder`
/// (atomically). Architectures: llama (q/k rows un-permuted to HF order), qwen2, qwen3. Throws IoError (corrupt file,
/// unknown architecture, tokenizer or tensor type, missing metadata or tensor), ConfigError (unknown dtype).
void import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& folder, const std::string& dtype);

/// config.json and generation_config.json of the model in a GGUF file, `dtype` as in import_gguf.
nlohmann::json gguf_model_config(const GgufReader& reader, const std::string& dtype);
nlohmann::json gguf_generation_config(const GgufReader& reader);

/// tokenizer.json (schema of the `tokenizers` library) and tokenizer_config.json of the byte-level BPE vocabulary in a
/// GGUF file. Pre-tokenizers: smollm, starcoder, refact, gpt-2, qwen2, deepseek-r1-qwen, llama-bpe. Throws IoError.
nlohmann::json gguf_tokenizer_json(const GgufReader& reader);
nlohmann::json gguf_tokenizer_config(const GgufReader& reader);

}  // namespace rqat::io
