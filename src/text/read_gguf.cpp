#include <nlohmann/json.hpp>

#include "rqat/io/gguf.h"
#include "rqat/io/gguf_import.h"
#include "text/json_fields.h"
#include "text/readers.h"

namespace rqat::text {

TokenizerParts read_gguf_vocabulary(const std::filesystem::path& path) {
  const io::GgufReader file(path);
  TokenizerParts parts = parse_tokenizer_json(io::gguf_tokenizer_json(file), path.string());
  const nlohmann::json config = io::gguf_tokenizer_config(file);
  parts.bos_token = optional_text(config, "bos_token", parts.source);
  parts.eos_token = optional_text(config, "eos_token", parts.source);
  return parts;
}

}  // namespace rqat::text
