#include "rqat/data/stream.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "data/readers/record_reader.h"
#include "read_record.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"

namespace rqat::data {

namespace {

using base::cat;

constexpr int64_t kGeneratedByDefault = 1000;

class GeneratedStream : public RecordStream {
 public:
  GeneratedStream(const DataConfig& config, int64_t seed)
      : problems_(generate_problems(config.generators, split_from_name(config.split),
                                    config.num_examples.value_or(kGeneratedByDefault),
                                    static_cast<uint64_t>(seed + config.seed))) {}

  bool next(Record& record) override {
    if (!skip()) return false;
    const Problem& problem = problems_[next_ - 1];
    record = Record();
    record.prompt = problem.question;
    record.response = problem.solution;
    record.family = problem.family;
    record.problem = problem;
    return true;
  }
  bool skip() override {
    if (next_ == problems_.size()) return false;
    ++next_;
    return true;
  }
  void rewind() override { next_ = 0; }

 private:
  std::vector<Problem> problems_;
  size_t next_ = 0;
};

class FileStream : public RecordStream {
 public:
  explicit FileStream(const DataConfig& config)
      : files_(files_of(config.file)), limit_(config.num_examples.value_or(std::numeric_limits<int64_t>::max())) {
    base::Faults faults;
    mapping_ = read_mapping(config.mapping, faults);
    faults.raise("mapping");
    needed_ = needed_columns(mapping_);
  }

  bool next(Record& record) override {
    nlohmann::json json;
    if (!step([&] { return reader_->next(json); })) return false;
    record = read_record(json, mapping_, reader_->columns(), reader_->where());
    return true;
  }
  bool skip() override {
    return step([&] { return reader_->skip(); });
  }
  void rewind() override {
    reader_.reset();
    file_ = 0;
    taken_ = 0;
  }

 private:
  template <class Step>
  bool step(const Step& step_reader) {
    while (taken_ < limit_) {
      if (reader_ == nullptr) {
        if (file_ == files_.size()) return false;
        reader_ = open_reader(files_[file_++], needed_);
      }
      if (step_reader()) {
        ++taken_;
        return true;
      }
      reader_.reset();
    }
    return false;
  }

  std::vector<std::filesystem::path> files_;
  int64_t limit_, taken_ = 0;
  Mapping mapping_;
  std::vector<std::string> needed_;
  std::unique_ptr<RecordReader> reader_;
  size_t file_ = 0;
};

class MixtureStream : public RecordStream {
 public:
  MixtureStream(const DataConfig& config, int64_t seed) : limit_(config.num_examples) {
    double sum = 0;
    for (const DataConfig::Part& part : config.parts) sum += part.weight;
    for (const DataConfig::Part& part : config.parts)
      parts_.push_back({part.name, part.data, part.weight / sum, open_records(*part.data, seed)});
  }

  bool next(Record& record) override {
    return step([&](Part& part) {
      if (!part.stream->next(record)) return false;
      if (record.system.empty()) record.system = part.data->system_prompt;
      if (!part.data->instruction.empty() && record.text.empty())
        record.prompt = cat(record.prompt, "\n", part.data->instruction);
      return true;
    });
  }
  bool skip() override {
    return step([](Part& part) { return part.stream->skip(); });
  }
  void rewind() override {
    taken_ = 0;
    for (Part& part : parts_) {
      part.taken = 0;
      part.stream->rewind();
    }
  }

 private:
  struct Part {
    std::string name;
    std::shared_ptr<const DataConfig> data;
    double share;
    std::unique_ptr<RecordStream> stream;
    int64_t taken = 0;
  };

  Part& most_behind() {
    Part* chosen = &parts_.front();
    const auto lag = [&](const Part& part) {
      return part.share * static_cast<double>(taken_ + 1) - static_cast<double>(part.taken);
    };
    for (Part& part : parts_) chosen = lag(part) > lag(*chosen) ? &part : chosen;
    return *chosen;
  }

  template <class Step>
  bool step(const Step& step_part) {
    if (limit_ && taken_ >= *limit_) return false;
    Part& part = most_behind();
    if (!step_part(part)) {
      if (!limit_) return false;
      part.stream->rewind();
      if (!step_part(part))
        throw base::DataError(cat("data '", part.name, "' of the mixture gave no record: the data set is empty"));
    }
    ++part.taken;
    ++taken_;
    return true;
  }

  std::optional<int64_t> limit_;
  std::vector<Part> parts_;
  int64_t taken_ = 0;
};

}  // namespace

std::unique_ptr<RecordStream> open_records(const DataConfig& config, int64_t seed) {
  if (!config.parts.empty()) return std::make_unique<MixtureStream>(config, seed);
  if (!config.file.empty()) return std::make_unique<FileStream>(config);
  return std::make_unique<GeneratedStream>(config, seed);
}

std::vector<Record> load_records(const DataConfig& config, int64_t seed) {
  const std::unique_ptr<RecordStream> stream = open_records(config, seed);
  std::vector<Record> records;
  for (Record record; stream->next(record);) records.push_back(std::move(record));
  if (records.empty()) {
    throw base::DataError(cat(!config.file.empty()   ? config.file
                              : config.parts.empty() ? "the generators"
                                                     : "the mixture",
                              " gave no record: the data set is empty"));
  }
  return records;
}

int64_t count_records(const DataConfig& config, int64_t seed) {
  if (config.num_examples && config.file.empty()) return *config.num_examples;
  const std::unique_ptr<RecordStream> stream = open_records(config, seed);
  int64_t count = 0;
  while (stream->skip()) ++count;
  return count;
}

std::string files_fingerprint(const DataConfig& config) {
  constexpr uintmax_t kReadWhole = uintmax_t{1} << 30;
  if (config.file.empty()) return "";
  std::string text;
  for (const std::filesystem::path& file : files_of(config.file)) {
    const uintmax_t size = std::filesystem::file_size(file);
    text += cat(file.filename().string(), "=",
                size <= kReadWhole ? base::content_hash(file)
                                   : cat(size, "/", std::filesystem::last_write_time(file).time_since_epoch().count()),
                "\n");
  }
  return base::hex64(base::stable_hash(text));
}

}  // namespace rqat::data
