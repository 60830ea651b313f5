#include "rqat/text/tokenizer.h"

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/readers.h"

namespace rqat::text {
namespace {

BpeParts read_folder(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / "tokenizer.json")) return read_tokenizer_json(folder / "tokenizer.json");
  if (std::filesystem::exists(folder / "vocab.json") && std::filesystem::exists(folder / "merges.txt"))
    return read_vocab_and_merges(folder);
  throw base::IoError(
      base::cat(folder.string(), ": no tokenizer here; expected tokenizer.json, or vocab.json with merges.txt"));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) throw base::IoError(base::cat(path.string(), ": no such file or folder"));
  if (path.extension() == ".gguf") return std::make_unique<BpeTokenizer>(read_gguf_vocabulary(path));
  const bool is_folder = std::filesystem::is_directory(path);
  BpeParts parts = is_folder ? read_folder(path) : read_tokenizer_json(path);
  read_special_roles((is_folder ? path : path.parent_path()) / "tokenizer_config.json", parts);
  return std::make_unique<BpeTokenizer>(std::move(parts));
}

}  // namespace rqat::text
