// Problems rendered through tokenizer and chat template: examples to learn from, prompts to answer.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/data/example.h"
#include "rqat/data/task.h"
#include "rqat/text/chat_template.h"
#include "rqat/text/tokenizer.h"

namespace rqat::data {

/// The noun `data:` of a recipe. Either generated tasks or a JSONL file with messages | prompt+completion |
/// question+answer records.
struct DataConfig : base::Config {
  std::vector<std::string> generators;  ///< task families (`rqat list tasks`)
  std::string file;                     ///< JSONL, instead of generators
  std::string split = "train";          ///< train | test | test_in_distribution (generators)
  int64_t num_examples = 1000;
  int64_t seed = 0;                ///< added to the recipe's seed
  int64_t max_length = 1024;       ///< tokens; a longer example is a DataError (or dropped, by `too_long`)
  std::string too_long = "error";  ///< error | drop
  std::string system_prompt;       ///< "" = the template's own
  std::string instruction;  ///< text after the question, e.g. "Think step by step and end with #### and the answer."
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;
};

/// One record: the conversation and, for verifiable tasks, how to check an answer.
struct Record {
  std::string prompt, response;  ///< user turn; worked solution
  std::string system;            ///< system turn of the record; "" = DataConfig::system_prompt
  std::string family;            ///< for tables by family ("" = none)
  Problem problem;               ///< for checking; problem.family empty when not verifiable
};

/// Loads or generates the records. Throws ConfigError, IoError (file:line of a bad record), DataError (empty set).
std::vector<Record> load_records(const DataConfig& config, int64_t seed);

/// Prompt ids (with generation prompt) of a record.
std::vector<int64_t> encode_prompt(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                                   const text::ChatTemplate& chat);
/// Whole conversation; loss mask on the response and the end-of-turn token. Throws DataError (record number, length,
/// limit).
Example encode_example(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                       const text::ChatTemplate& chat);
/// All of them, or the first `most` that are not dropped. Throws DataError on the first that is too long (record
/// number), or when `too_long: drop` leaves none.
std::vector<Example> encode_examples(const std::vector<Record>& records, const DataConfig& config,
                                     const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                     int64_t most = std::numeric_limits<int64_t>::max());
/// Whether the response solves the record's problem (by its final answer; without the marker, by its last number). For
/// records from a file the response's marked answer must equal that of the record's, or all of it where it marks none.
bool check_response(const Record& record, std::string_view response);

/// Endless, seeded order over `size` examples, reshuffled each epoch; the cursor is a plain number, so that resume is
/// exact.
class Sampler {
 public:
  Sampler(int64_t size, uint64_t seed, bool shuffle = true);
  int64_t next();
  int64_t cursor() const { return cursor_; }
  void set_cursor(int64_t cursor);

 private:
  void shuffle_epoch(int64_t epoch);
  int64_t size_, cursor_ = 0, epoch_ = -1;
  uint64_t seed_;
  bool shuffle_;
  std::vector<int64_t> order_;
};

/// Micro-batches of one step: examples packed so that no micro-batch exceeds `max_tokens` (0 = one micro-batch),
/// keeping order.
std::vector<std::vector<int64_t>> pack_micro_batches(const std::vector<int64_t>& lengths, int64_t max_tokens);

}  // namespace rqat::data
