#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf.h"
#include "text/presets.h"
#include "text/readers.h"

namespace rqat::text {
namespace {

// tokenizer.ggml.token_type
constexpr int64_t kControl = 3, kUserDefined = 4;

void read_merges(const io::GgufReader& file, BpeParts& parts) {
  const std::vector<std::string>& merges = file.texts("tokenizer.ggml.merges");
  parts.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::vector<std::string> sides = base::split(merges[i], ' ');
    if (sides.size() != 2)
      throw base::IoError(base::cat(parts.source, ": tokenizer.ggml.merges[", i, "] '", merges[i], "' is not \"a b\""));
    parts.merges.emplace_back(sides[0], sides[1]);
  }
}

std::string token_of(const io::GgufReader& file, const char* key) {
  if (!file.has(key)) return "";
  const int64_t id = file.integer(key);
  const std::vector<std::string>& tokens = file.texts("tokenizer.ggml.tokens");
  if (id < 0 || id >= static_cast<int64_t>(tokens.size())) {
    throw base::IoError(
        base::cat(file.path().string(), ": ", key, " is ", id, ", but there are ", tokens.size(), " tokens"));
  }
  return tokens[static_cast<size_t>(id)];
}

}  // namespace

BpeParts read_gguf_vocabulary(const std::filesystem::path& path) {
  const io::GgufReader file(path);
  BpeParts parts;
  parts.source = path.string();
  const std::string& model = file.text("tokenizer.ggml.model");
  if (model != "gpt2") {
    throw base::IoError(base::cat(parts.source, ": tokenizer.ggml.model '", model,
                                  "' is not supported; allowed is gpt2 (byte-level BPE)"));
  }
  apply_preset(file.text("tokenizer.ggml.pre"), parts);
  const std::vector<std::string>& tokens = file.texts("tokenizer.ggml.tokens");
  const std::vector<int64_t>& types = file.integers("tokenizer.ggml.token_type");
  if (types.size() != tokens.size()) {
    throw base::IoError(base::cat(parts.source, ": ", tokens.size(), " tokens, but ", types.size(), " token types"));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int64_t>(i);
    parts.vocabulary.emplace_back(tokens[i], id);
    if (types[i] != kControl && types[i] != kUserDefined) continue;
    AddedToken token;
    token.content = tokens[i];
    token.id = id;
    token.special = types[i] == kControl;
    parts.added_tokens.push_back(std::move(token));
  }
  read_merges(file, parts);
  parts.bos_token = token_of(file, "tokenizer.ggml.bos_token_id");
  parts.eos_token = token_of(file, "tokenizer.ggml.eos_token_id");
  return parts;
}

}  // namespace rqat::text
