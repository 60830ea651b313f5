#include "token_ids.h"

#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"

namespace rqat::cli {

std::vector<std::vector<int64_t>> read_token_ids(const std::filesystem::path& file) {
  const nlohmann::json json = io::read_json(file);
  std::vector<std::vector<int64_t>> ids;
  bool fits = json.is_array();
  for (size_t i = 0; fits && i < json.size(); ++i) {
    fits = json[i].is_array();
    for (size_t j = 0; fits && j < json[i].size(); ++j) fits = json[i][j].is_number_integer();
    if (fits) ids.push_back(json[i].get<std::vector<int64_t>>());
  }
  if (!fits)
    throw base::DataError(
        base::cat(file.string(), ": a list of lists of token ids is expected, like [[1, 2, 3], [4, 5, 6]]"));
  if (ids.empty())
    throw base::DataError(
        base::cat(file.string(), ": no list of token ids in it; give at least one, like [[1, 2, 3]]"));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].empty()) {
      throw base::DataError(
          base::cat(file.string(), ": list ", i + 1, " of ", ids.size(), " is empty; give it at least one token id"));
    }
  }
  return ids;
}

void require_in_vocabulary(const std::vector<std::vector<int64_t>>& ids, int64_t vocab_size,
                           const std::filesystem::path& file) {
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t j = 0; j < ids[i].size(); ++j) {
      if (ids[i][j] >= 0 && ids[i][j] < vocab_size) continue;
      throw base::DataError(base::cat(file.string(), ": id ", ids[i][j], " in list ", i + 1, ", place ", j + 1,
                                      " is outside the vocabulary of ", vocab_size));
    }
  }
}

}  // namespace rqat::cli
