#include "rqat/text/tokenizer.h"

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/readers.h"
#include "text/sentencepiece_tokenizer.h"

namespace rqat::text {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> with_roles(TokenizerParts parts, const fs::path& folder) {
  read_special_roles(folder / "tokenizer_config.json", parts);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> load_model_file(const fs::path& path) {
  if (is_tiktoken_file(path)) return std::make_unique<PipelineTokenizer>(read_tiktoken(path));
  return load_sentencepiece(path, {});
}

std::unique_ptr<Tokenizer> load_folder(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.json.gz"}) {
    if (fs::exists(folder / name)) return with_roles(read_tokenizer_json(folder / name), folder);
  }
  if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"))
    return with_roles(read_vocab_and_merges(folder), folder);
  const fs::path model = folder / "tokenizer.model";
  if (fs::exists(model)) return is_tiktoken_file(model) ? load_model_file(model) : read_sentencepiece_folder(folder);
  throw base::IoError(base::cat(
      folder.string(), ": no tokenizer here; expected tokenizer.json, vocab.json with merges.txt, or tokenizer.model"));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  if (!fs::exists(path)) throw base::IoError(base::cat(path.string(), ": no such file or folder"));
  if (fs::is_directory(path)) return load_folder(path);
  if (path.extension() == ".gguf") return std::make_unique<PipelineTokenizer>(read_gguf_vocabulary(path));
  if (path.extension() == ".model") return load_model_file(path);
  return with_roles(read_tokenizer_json(path), path.parent_path());
}

}  // namespace rqat::text
