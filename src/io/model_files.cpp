#include "rqat/io/model_files.h"

#include "rqat/base/files.h"

namespace rqat::io {

const std::vector<std::string>& companion_files() {
  static const std::vector<std::string> names{"generation_config.json", "tokenizer.json",    "tokenizer_config.json",
                                              "tokenizer.model",        "tiktoken.model",    "special_tokens_map.json",
                                              "added_tokens.json",      "vocab.json",        "merges.txt",
                                              "chat_template.jinja",    "chat_template.json"};
  return names;
}

void copy_companion_files(const std::filesystem::path& source, const std::filesystem::path& folder) {
  if (std::filesystem::weakly_canonical(source) == std::filesystem::weakly_canonical(folder)) return;
  for (const std::string& name : companion_files()) {
    if (std::filesystem::exists(source / name)) base::write_file(folder / name, base::read_file(source / name));
  }
}

}  // namespace rqat::io
