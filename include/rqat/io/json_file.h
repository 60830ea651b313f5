// JSON files with errors a user can act on. Implementation files include nlohmann/json.hpp; headers only forward it.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace rqat::io {

/// Parses a whole JSON file. Throws IoError "file:line: ..." when missing, truncated or malformed (depth <= 200).
nlohmann::json read_json(const std::filesystem::path& path);
nlohmann::json parse_json(std::string_view text, const std::string& what);
/// Pretty-printed (2 spaces), atomic.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace rqat::io
