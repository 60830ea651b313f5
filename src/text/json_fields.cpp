#include "text/json_fields.h"

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::text {
namespace {

[[noreturn]] void wrong_kind(const std::string& where, const char* expected, const nlohmann::json& value) {
  throw base::IoError(base::cat(where, " is ", value.type_name(), ", expected ", expected));
}

std::string member(const std::string& where, const char* key) { return base::cat(where, ": '", key, "'"); }

}  // namespace

bool given(const nlohmann::json& object, const char* key) { return object.contains(key) && !object.at(key).is_null(); }

void require_object(const nlohmann::json& value, const std::string& where) {
  if (!value.is_object()) wrong_kind(where, "an object", value);
}

void require_array(const nlohmann::json& value, const std::string& where) {
  if (!value.is_array()) wrong_kind(where, "an array", value);
}

const nlohmann::json& required(const nlohmann::json& object, const char* key, const std::string& where) {
  require_object(object, where);
  if (!object.contains(key)) throw base::IoError(base::cat(where, ": key '", key, "' is missing"));
  return object.at(key);
}

std::string required_text(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& value = required(object, key, where);
  if (!value.is_string()) wrong_kind(member(where, key), "a string", value);
  return value.get<std::string>();
}

bool flag(const nlohmann::json& object, const char* key, bool fallback, const std::string& where) {
  require_object(object, where);
  if (!given(object, key)) return fallback;
  if (!object.at(key).is_boolean()) wrong_kind(member(where, key), "true or false", object.at(key));
  return object.at(key).get<bool>();
}

std::string optional_text(const nlohmann::json& object, const char* key, const std::string& where) {
  require_object(object, where);
  if (!given(object, key)) return "";
  const nlohmann::json& value = object.at(key);
  if (value.is_object()) return required_text(value, "content", member(where, key));
  if (!value.is_string()) wrong_kind(member(where, key), "a string", value);
  return value.get<std::string>();
}

int64_t integer(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_integer()) wrong_kind(where, "an integer", value);
  // Above the range of int64_t the conversion would wrap to a plausible value.
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return INT64_MAX;
  return value.get<int64_t>();
}

}  // namespace rqat::text
