#include "report_json.h"

#include <cmath>

namespace rqat::pipeline::report {

const json& child(const json& object, const std::string& key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::optional<double> number(const json& object, const std::string& key) {
  const json& value = child(object, key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) return std::nullopt;
  return value.get<double>();
}

std::string text(const json& object, const std::string& key, const std::string& fallback) {
  const json& value = child(object, key);
  return value.is_string() ? value.get<std::string>() : fallback;
}

bool flag(const json& object, const std::string& key, bool fallback) {
  const json& value = child(object, key);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

std::vector<std::string> texts(const json& object, const std::string& key) {
  const json& value = child(object, key);
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> found;
  if (!value.is_array()) return found;
  for (const json& item : value) {
    if (item.is_string()) found.push_back(item.get<std::string>());
  }
  return found;
}

}  // namespace rqat::pipeline::report
