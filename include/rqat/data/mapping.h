// Which column of a record is what.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/fields.h"

namespace rqat::data {

/// The key `mapping:` of a data entry. A column may lie inside another ("reward_model.ground_truth"); one that some
/// records may lack ends with "?".
struct Mapping : base::Config {
  std::string preset;     ///< columns of a well-known set; other keys replace its
  std::string messages;   ///< chat turns: role + content, or from + value (ShareGPT)
  std::string question;   ///< the user's turn: text, or a list of turns
  std::string answer;     ///< the assistant's turn: text, a list of texts (the first is taken), or a list of turns
  std::string text;       ///< plain text, all of it to be learned
  std::string thinking;   ///< reasoning, put between <think> and </think> before the answer
  std::string system;     ///< the system turn
  std::string reference;  ///< the right final answer, by which responses are checked
  std::string family;     ///< group in tables
  std::string finished;   ///< false where the answer was cut at a limit: no end of turn is learned then
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;

  /// Whether it says nothing: each record is then read by the names of its columns.
  bool empty() const;
};

/// One of the presets.
struct MappingPreset {
  std::string name;
  std::string help;  ///< the data sets it fits
  Mapping mapping;
};
const std::vector<MappingPreset>& mapping_presets();

/// Reads `mapping: gsm8k` or `mapping: {question: problem, ...}`; a preset's columns are filled in. Adds to `faults`.
Mapping read_mapping(const base::Node& node, base::Faults& faults);

}  // namespace rqat::data
