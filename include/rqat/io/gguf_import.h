// GGUF checkpoint -> HF folder.
#pragma once

#include <filesystem>
#include <string>

namespace rqat::io {

/// Writes config.json, generation_config.json, model.safetensors (`dtype`: bfloat16 | float16 | float32), tokenizer.json,
/// tokenizer_config.json (with chat_template) and chat_template.jinja from a GGUF file into `folder` (atomically).
/// Architectures: llama (q/k rows un-permuted to HF order), qwen2, qwen3. Throws IoError (corrupt file, unknown
/// architecture, missing metadata).
void import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& folder, const std::string& dtype);

}  // namespace rqat::io
