// Reading JSON that may lack any of its parts: the files of a run that is still going on, or of another version.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace rqat::pipeline::report {

using nlohmann::json;

/// `object[key]`, or null when `object` is no object or has no such key.
const json& child(const json& object, const std::string& key);

/// A finite number, or nothing.
std::optional<double> number(const json& object, const std::string& key);

/// A string, or `fallback`.
std::string text(const json& object, const std::string& key, const std::string& fallback = "");

/// A boolean, or `fallback`.
bool flag(const json& object, const std::string& key, bool fallback = false);

/// The strings of a list; a single string counts as a list of one.
std::vector<std::string> texts(const json& object, const std::string& key);

}  // namespace rqat::pipeline::report
