// One record of a file as a conversation.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "rqat/data/dataset.h"
#include "rqat/data/mapping.h"

namespace rqat::data {

/// Top-level columns that reading by `mapping` needs.
std::vector<std::string> needed_columns(const Mapping& mapping);

/// Reads a record by `mapping`; by an empty one, by the names of its columns: messages | conversations |
/// prompt + completion | question + answer | problem + solution | text. `columns` = all of the file's, where known, for
/// messages. Throws DataError that begins with `where`.
Record read_record(const nlohmann::json& json, const Mapping& mapping, const std::vector<std::string>& columns,
                   const std::string& where);

}  // namespace rqat::data
