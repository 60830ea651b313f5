// The files of a Hugging Face folder beside config.json and the weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace rqat::io {

/// generation_config.json, and all names under which tokenizers and chat templates are kept.
const std::vector<std::string>& companion_files();

/// Copies those of them that `source` has; nothing when the folders are the same. Throws IoError.
void copy_companion_files(const std::filesystem::path& source, const std::filesystem::path& folder);

}  // namespace rqat::io
