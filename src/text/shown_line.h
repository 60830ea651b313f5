// A line of somebody's input inside a message.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "rqat/base/strings.h"

namespace rqat::text {

/// The first 80 bytes in quotes; control characters escaped and broken UTF-8 replaced, as a terminal may obey them.
inline std::string shown_line(const std::string& line) {
  const std::string shown =
      nlohmann::json(line.substr(0, 80)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return base::cat("'", base::replace_all(shown.substr(1, shown.size() - 2), "\\\"", "\""), "'");
}

}  // namespace rqat::text
