#include <nlohmann/json.hpp>
#include <set>

#include "data/readers/byte_source.h"
#include "data/readers/record_reader.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::data {

namespace {

using base::cat;

class Csv : public RecordReader {
 public:
  Csv(const std::filesystem::path& path, char separator) : in_(path), separator_(separator) {
    if (!read_row())
      throw base::DataError(cat(path.string(), ": the file is empty; its first row must name the columns"));
    columns_ = row_;
    std::set<std::string> seen;
    for (const std::string& name : columns_) {
      if (name.empty() || !seen.insert(name).second) {
        throw base::DataError(cat(where(), ": the first row must name the columns, but ",
                                  name.empty() ? "one name is empty" : cat("'", name, "' is there twice")));
      }
    }
  }

  bool next(nlohmann::json& record) override {
    if (!skip()) return false;
    if (row_.size() != columns_.size()) {
      throw base::DataError(cat(where(), ": ", row_.size(), " fields, but the first row names ", columns_.size(),
                                " columns; a field that holds the separator, a quote or a line break needs quotes"));
    }
    record = nlohmann::json::object();
    for (size_t i = 0; i < columns_.size(); ++i) record[columns_[i]] = std::move(row_[i]);
    return true;
  }

  bool skip() override {
    while (read_row()) {
      if (row_.size() > 1 || !row_.front().empty()) return true;
    }
    return false;
  }

  std::string where() const override { return cat(in_.path().string(), ":", line_); }
  std::vector<std::string> columns() const override { return columns_; }

 private:
  bool read_row() {
    if (in_.peek() < 0) return false;
    line_ = in_.line();
    row_.clear();
    size_ = 0;
    while (read_field()) {
    }
    return true;
  }

  /// False after the last field of a row.
  bool read_field() {
    row_.emplace_back();
    std::string& field = row_.back();
    const bool quoted = in_.peek() == '"';
    if (quoted) read_quoted(field);
    for (int c = in_.get();; c = in_.get()) {
      if (c == '\r' && (in_.peek() == '\n' || in_.peek() < 0)) c = in_.get();
      if (c < 0 || c == '\n') return false;
      if (c == separator_) return true;
      if (quoted) throw base::DataError(cat(where(), ": text follows the closing quote of a field"));
      add(field, c);
    }
  }

  void read_quoted(std::string& field) {
    in_.get();
    for (int c = in_.get();; c = in_.get()) {
      if (c < 0) throw base::DataError(cat(where(), ": the file ends inside a quoted field that begins in this row"));
      if (c == '"') {
        if (in_.peek() != '"') return;
        in_.get();
      }
      add(field, c);
    }
  }

  void add(std::string& field, int c) {
    field += static_cast<char>(c);
    if (++size_ > kLargestRecord)
      throw base::DataError(cat(where(), ": the row is larger than ", base::format_bytes(kLargestRecord)));
  }

  CharacterReader in_;
  char separator_;
  std::vector<std::string> columns_, row_;
  size_t size_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::unique_ptr<RecordReader> open_csv(const std::filesystem::path& path, char separator) {
  return std::make_unique<Csv>(path, separator);
}

}  // namespace rqat::data
