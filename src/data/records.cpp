#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

namespace {

using base::cat;

std::vector<Record> generated_records(const DataConfig& config, int64_t seed) {
  std::vector<Record> records;
  for (Problem& problem : generate_problems(config.generators, split_from_name(config.split), config.num_examples,
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
  const auto found = record.is_object() ? record.find(key) : record.end();
  if (found == record.end() || !found->is_string()) {
    throw base::DataError(cat(where, ": `", key, "` is missing or not text"));
  }
  return found->get<std::string>();
}

/// [system,] user, assistant: a longer conversation would lose the turns that its last answer stands on.
void read_messages(const nlohmann::json& messages, Record& record, const std::string& where) {
  std::string roles;
  if (messages.is_array()) {
    for (const auto& message : messages) {
      const std::string role = text_field(message, "role", where), content = text_field(message, "content", where);
      roles += cat(roles.empty() ? "" : ", ", role);
      (role == "system" ? record.system : role == "user" ? record.prompt : record.response) = content;
    }
  }
  if (roles != "user, assistant" && roles != "system, user, assistant") {
    throw base::DataError(cat(
        where, ": `messages` must be one user turn and one assistant turn, a system turn before them or not; found ",
        roles.empty() ? "none" : roles));
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
    throw base::DataError(cat(where, ": a record needs `messages`, `prompt` + `completion`, or `question` + `answer`"));
  }
  if (base::trim(record.prompt).empty() || base::trim(record.response).empty()) {
    throw base::DataError(cat(where, ": the ", base::trim(record.prompt).empty() ? "question" : "answer", " is empty"));
  }
  record.problem.question = record.prompt;
  record.problem.solution = record.response;
  return record;
}

std::vector<Record> file_records(const DataConfig& config) {
  std::ifstream in(config.file);
  if (!in || std::filesystem::is_directory(config.file))
    throw base::IoError(cat(config.file, ": cannot be opened; check `file` of the data entry"));
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
    throw base::DataError(
        cat(config.file.empty() ? "the generators" : config.file, " gave no record: the data set is empty"));
  }
  return records;
}

}  // namespace rqat::data
