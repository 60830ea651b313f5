// sentencepiece models through libsentencepiece.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rqat/text/tokenizer.h"
#include "text/added_tokens.h"

namespace rqat::text {

struct SentencePieceOptions {
  std::vector<AddedToken> added_tokens;   ///< found in the text before the model sees it
  std::string bos_token, eos_token;       ///< "": the model's own
  bool add_bos = false, add_eos = false;  ///< with_special()
};

/// Throws IoError: missing or damaged file.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path, SentencePieceOptions options);

}  // namespace rqat::text
