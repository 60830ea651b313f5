// Sections of tokenizer.json besides the model. Each throws IoError on what is not supported, which it names.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/pipeline_tokenizer.h"

namespace rqat::text {

/// `section` may be null. `where` begins messages.
void read_normalizer(const nlohmann::json& section, const std::string& where, Normalizer& out);
void read_pre_tokenizer(const nlohmann::json& section, const std::string& where, PreTokenizer& out);
void read_decoder(const nlohmann::json& section, const std::string& where, Decoder& out);
/// Fills parts.before and parts.after.
void read_post_processor(const nlohmann::json& section, const std::string& where, TokenizerParts& parts);

}  // namespace rqat::text
