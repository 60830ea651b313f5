// Files of records, read front to back.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace rqat::data {

class RecordReader {
 public:
  virtual ~RecordReader() = default;
  /// The next record, an object; false at the end. Throws DataError that names file and record, IoError.
  virtual bool next(nlohmann::json& record) = 0;
  /// Passes over one record without looking into it; false at the end.
  virtual bool skip() = 0;
  /// Where the record read last stands: "train.jsonl:17", "train.parquet, row 17".
  virtual std::string where() const = 0;
  /// All columns, where the file says what they are; of JSON each record says it.
  virtual std::vector<std::string> columns() const { return {}; }
};

/// Opens a file by the ending of its name: .jsonl .ndjson .json .csv .tsv .parquet, those of text also with .gz or
/// .zst behind. Of Parquet only the top-level columns `wanted` are read, all when none of them is there. Throws
/// IoError, DataError.
std::unique_ptr<RecordReader> open_reader(const std::filesystem::path& path, const std::vector<std::string>& wanted);

/// The files that a path or glob pattern (*, ?, [..], {a,b}) names, sorted. Throws IoError when there is none.
std::vector<std::filesystem::path> files_of(const std::string& pattern);

/// By lines.
std::unique_ptr<RecordReader> open_json_lines(const std::filesystem::path& path);
/// A list of records, or records one after the other.
std::unique_ptr<RecordReader> open_json(const std::filesystem::path& path);
/// RFC 4180; the first row names the columns. All values are text.
std::unique_ptr<RecordReader> open_csv(const std::filesystem::path& path, char separator);
/// Throws ConfigError in a build without Arrow.
std::unique_ptr<RecordReader> open_parquet(const std::filesystem::path& path, const std::vector<std::string>& wanted);

}  // namespace rqat::data
