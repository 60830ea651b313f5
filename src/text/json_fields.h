// Typed access to JSON objects with messages that name file and key. For implementation files only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace rqat::text {

/// Member `key` of `object`. Throws IoError "where: key 'x' is missing".
const nlohmann::json& required(const nlohmann::json& object, const char* key, const std::string& where);
std::string required_text(const nlohmann::json& object, const char* key, const std::string& where);
/// Missing and null give `fallback`; other kinds than bool are an IoError.
bool flag(const nlohmann::json& object, const char* key, bool fallback, const std::string& where);
/// Text, "" when missing or null; also the `content` of a token written as an object. Else an IoError.
std::string optional_text(const nlohmann::json& object, const char* key, const std::string& where);
int64_t integer(const nlohmann::json& value, const std::string& where);
/// True when the member is there and not null.
bool given(const nlohmann::json& object, const char* key);
/// Throws IoError unless `value` is an object / array.
void require_object(const nlohmann::json& value, const std::string& where);
void require_array(const nlohmann::json& value, const std::string& where);

}  // namespace rqat::text
