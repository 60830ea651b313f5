#include "data/readers/record_reader.h"

#include <glob.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::data {

namespace {

namespace fs = std::filesystem;
using base::cat;

bool ends_with(const std::string& text, const std::string& ending) {
  return text.size() > ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

}  // namespace

std::unique_ptr<RecordReader> open_reader(const fs::path& path, const std::vector<std::string>& wanted) {
  const std::string name = path.filename().string();
  if (ends_with(name, ".parquet")) return open_parquet(path, wanted);
  std::string plain = name;
  for (const std::string packed : {".gz", ".zst"}) {
    if (ends_with(plain, packed)) plain.resize(plain.size() - packed.size());
  }
  if (ends_with(plain, ".jsonl") || ends_with(plain, ".ndjson")) return open_json_lines(path);
  if (ends_with(plain, ".json")) return open_json(path);
  if (ends_with(plain, ".csv")) return open_csv(path, ',');
  if (ends_with(plain, ".tsv")) return open_csv(path, '\t');
  if (fs::is_directory(path)) {
    throw base::IoError(
        cat(path.string(), ": is a folder; name its files, e.g. '", (path / "*.parquet").string(), "'"));
  }
  throw base::IoError(cat(path.string(), ": the ending of the name does not say what it is; allowed: .jsonl, .ndjson, ",
                          ".json, .csv, .tsv (each also with .gz or .zst behind), .parquet"));
}

std::vector<fs::path> files_of(const std::string& pattern) {
  if (fs::exists(pattern)) return {pattern};
  glob_t found = {};
  const int state = ::glob(pattern.c_str(), GLOB_BRACE | GLOB_TILDE, nullptr, &found);
  std::vector<fs::path> files;
  for (size_t i = 0; state == 0 && i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  if (files.empty()) {
    const bool is_pattern = pattern.find_first_of("*?[{") != std::string::npos;
    throw base::IoError(cat(pattern, is_pattern ? ": no file fits this pattern" : ": cannot be opened: no such file",
                            " (names are relative to ", fs::current_path().string(), ")"));
  }
  return files;
}

}  // namespace rqat::data
