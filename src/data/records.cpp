#include <fstream>
#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

namespace {

using base::cat;

Split split_of(const std::string& name) { return split_from_name(name); }

std::vector<Record> generated_records(const DataConfig& config, int64_t seed) {
  std::vector<Record> records;
  for (Problem& problem : generate_problems(config.generators, split_of(config.split), config.num_examples,
                                            static_cast<uint64_t>(seed + config.seed))) {
    Record record;
    record.prompt = problem.question;
    record.response = problem.solution;
    record.family = problem.family;
    record.problem = std::move(problem);
    records.push_back(std::move(record));
  }
  return records;
}

std::string text_field(const nlohmann::json& record, const char* key, const std::string& where) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_string()) {
    throw base::DataError(cat(where, ": `", key, "` is missing or not text"));
  }
  return found->get<std::string>();
}

/// The last user turn and the assistant turn after it.
void read_messages(const nlohmann::json& messages, Record& record, const std::string& where) {
  if (!messages.is_array() || messages.size() < 2) {
    throw base::DataError(cat(where, ": `messages` must be a list of at least a user and an assistant turn"));
  }
  for (const auto& message : messages) {
    const std::string role = text_field(message, "role", where);
    if (role == "user") record.prompt = text_field(message, "content", where);
    if (role == "assistant") record.response = text_field(message, "content", where);
  }
  if (record.prompt.empty() || record.response.empty()) {
    throw base::DataError(cat(where, ": `messages` has no user turn or no assistant turn"));
  }
}

Record read_record(const std::string& line, const std::string& where) {
  nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) throw base::DataError(cat(where, ": not a JSON object"));
  Record record;
  if (json.contains("messages")) {
    read_messages(json["messages"], record, where);
  } else if (json.contains("prompt")) {
    record.prompt = text_field(json, "prompt", where);
    record.response = text_field(json, "completion", where);
  } else if (json.contains("question")) {
    record.prompt = text_field(json, "question", where);
    record.response = text_field(json, "answer", where);
  } else {
    throw base::DataError(
        cat(where, ": a record needs `messages`, `prompt` + `completion`, or `question` + `answer`"));
  }
  record.problem.question = record.prompt;
  record.problem.solution = record.response;
  return record;
}

std::vector<Record> file_records(const DataConfig& config) {
  std::ifstream in(config.file);
  if (!in) throw base::IoError(cat(config.file, ": cannot be opened; check `file` of the data entry"));
  std::vector<Record> records;
  std::string line;
  for (int64_t number = 1; std::getline(in, line) && static_cast<int64_t>(records.size()) < config.num_examples;
       ++number) {
    if (base::trim(line).empty()) continue;
    records.push_back(read_record(line, cat(config.file, ":", number)));
  }
  return records;
}

}  // namespace

std::vector<Record> load_records(const DataConfig& config, int64_t seed) {
  std::vector<Record> records = config.file.empty() ? generated_records(config, seed) : file_records(config);
  if (records.empty()) {
    throw base::DataError(cat(config.file.empty() ? "the generators" : config.file, " gave no record: the data set is empty"));
  }
  return records;
}

}  // namespace rqat::data
