// Token ids from a file, for the commands that compare with other programs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace rqat::cli {

/// The lists of a JSON file like [[1, 2, 3], [4, 5, 6]]. Throws IoError, and DataError when it holds anything else,
/// none, or an empty one.
std::vector<std::vector<int64_t>> read_token_ids(const std::filesystem::path& file);

/// Throws DataError naming `file`, list and place of the first id outside 0..vocab_size - 1.
void require_in_vocabulary(const std::vector<std::vector<int64_t>>& ids, int64_t vocab_size,
                           const std::filesystem::path& file);

}  // namespace rqat::cli
