// Fields of one JSON object, with errors that name file and field.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace rqat::model {

/// All readers throw IoError "FILE: FIELD: ..." for a value of another kind. A field that is null counts as absent
/// unless said otherwise, as in transformers. The object must outlive the reader.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string place);

  [[noreturn]] void fail(const std::string& field, const std::string& text) const;
  const nlohmann::json* find(const std::string& field) const;  ///< nullptr when absent
  bool is_null(const std::string& field) const;                ///< there, and null
  std::vector<std::string> names() const;                      ///< of fields that are not null and not empty

  int64_t size(const std::string& field) const;  ///< > 0, must be there
  int64_t size(const std::string& field, int64_t fallback) const;
  double number(const std::string& field, double fallback) const;  ///< > 0
  bool flag(const std::string& field, bool fallback = false) const;
  std::string text(const std::string& field, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& field) const;
  std::vector<double> numbers(const std::string& field) const;  ///< each > 0
  std::vector<std::string> texts(const std::string& field) const;
  std::vector<int64_t> token_ids(const std::string& field) const;  ///< one token id or a list of them
  const std::string& place() const { return place_; }

 private:
  const nlohmann::json& object_;
  std::string place_;
};

}  // namespace rqat::model
