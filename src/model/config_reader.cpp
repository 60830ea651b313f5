#include "config_reader.h"

#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::model {

using nlohmann::json;

namespace {

int64_t positive(const ConfigReader& reader, const std::string& field, const json& value) {
  constexpr int64_t kMost = int64_t{1} << 31;  // keeps products of two sizes inside an int64
  if (!value.is_number_integer() || value.get<int64_t>() <= 0 || value.get<int64_t>() > kMost) {
    reader.fail(field, base::cat("expected an integer > 0 and at most ", kMost, ", got ", value.dump()));
  }
  return value.get<int64_t>();
}

double positive_number(const ConfigReader& reader, const std::string& field, const json& value) {
  if (!value.is_number() || !(value.get<double>() > 0)) {
    reader.fail(field, "expected a number > 0, got " + value.dump());
  }
  return value.get<double>();
}

const json::array_t& list(const ConfigReader& reader, const std::string& field) {
  static const json::array_t none;
  const json* value = reader.find(field);
  if (!value) return none;
  if (!value->is_array()) reader.fail(field, "expected a list, got " + value->dump());
  return value->get_ref<const json::array_t&>();
}

}  // namespace

ConfigReader::ConfigReader(const json& object, std::string place) : object_(object), place_(std::move(place)) {
  if (!object.is_object()) throw base::IoError(place_ + ": expected a JSON object");
}

void ConfigReader::fail(const std::string& field, const std::string& text) const {
  throw base::IoError(base::cat(place_, ": ", field, ": ", text));
}

const json* ConfigReader::find(const std::string& field) const {
  const auto at = object_.find(field);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

bool ConfigReader::is_null(const std::string& field) const {
  const auto at = object_.find(field);
  return at != object_.end() && at->is_null();
}

std::vector<std::string> ConfigReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!value.empty()) names.push_back(name);  // null counts as empty, numbers and texts never do
  }
  return names;
}

int64_t ConfigReader::size(const std::string& field) const {
  const json* value = find(field);
  if (!value) fail(field, "missing; it is needed to build the model");
  return positive(*this, field, *value);
}

int64_t ConfigReader::size(const std::string& field, int64_t fallback) const {
  const json* value = find(field);
  return value ? positive(*this, field, *value) : fallback;
}

double ConfigReader::number(const std::string& field, double fallback) const {
  const json* value = find(field);
  return value ? positive_number(*this, field, *value) : fallback;
}

bool ConfigReader::flag(const std::string& field, bool fallback) const {
  const json* value = find(field);
  if (value && !value->is_boolean()) fail(field, "expected true or false, got " + value->dump());
  return value ? value->get<bool>() : fallback;
}

std::string ConfigReader::text(const std::string& field, const std::string& fallback) const {
  const json* value = find(field);
  if (!value) return fallback;
  if (!value->is_string()) fail(field, "expected a text, got " + value->dump());
  return value->get<std::string>();
}

std::vector<int64_t> ConfigReader::integers(const std::string& field) const {
  std::vector<int64_t> values;
  for (const json& value : list(*this, field)) {
    if (!value.is_number_integer()) fail(field, "expected a list of integers, got " + value.dump() + " in it");
    values.push_back(value.get<int64_t>());
  }
  return values;
}

std::vector<double> ConfigReader::numbers(const std::string& field) const {
  std::vector<double> values;
  for (const json& value : list(*this, field)) values.push_back(positive_number(*this, field, value));
  return values;
}

std::vector<std::string> ConfigReader::texts(const std::string& field) const {
  std::vector<std::string> values;
  for (const json& value : list(*this, field)) {
    if (!value.is_string()) fail(field, "expected a list of texts, got " + value.dump() + " in it");
    values.push_back(value.get<std::string>());
  }
  return values;
}

std::vector<int64_t> ConfigReader::token_ids(const std::string& field) const {
  std::vector<int64_t> ids;
  const json* value = find(field);
  if (!value) return ids;
  for (const json& id : value->is_array() ? *value : json::array({*value})) {
    if (!id.is_number_integer()) fail(field, "expected a token id or a list of them, got " + value->dump());
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace rqat::model
