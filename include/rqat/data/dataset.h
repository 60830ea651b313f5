// Records rendered through tokenizer and chat template: examples to learn from, prompts to answer.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/base/fields.h"
#include "rqat/data/example.h"
#include "rqat/data/task.h"
#include "rqat/text/chat_template.h"
#include "rqat/text/tokenizer.h"

namespace rqat::data {

/// The noun `data:` of a recipe: generated tasks, files of records, or a mixture of other entries.
struct DataConfig : base::Config {
  std::vector<std::string> generators;  ///< task families (`rqat list tasks`)
  std::string file;                     ///< path or glob pattern, instead of generators
  base::Node mapping;                   ///< which column is what: read_mapping()
  base::Node mixture;                   ///< names of other entries and their weights, instead of a file
  std::string split = "train";          ///< train | test | test_in_distribution (generators)
  std::optional<int64_t> num_examples;  ///< absent = 1000 of generators, all of a file
  int64_t seed = 0;                     ///< added to the recipe's seed
  int64_t max_length = 1024;            ///< tokens; a longer example is a DataError, or what `too_long` says
  std::string too_long = "error";       ///< error | drop | truncate
  std::string loss_on = "responses";    ///< responses | last_response | all
  int64_t shuffle_buffer = 0;           ///< 0 = training holds all records; else so many of a stream
  std::string system_prompt;            ///< "" = the template's own
  std::string instruction;  ///< text after the question, e.g. "Think step by step and end with #### and the answer."
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;

  /// `mixture` resolved, by whoever knows the other entries.
  struct Part {
    std::string name;
    double weight = 1;
    std::shared_ptr<const DataConfig> data;
  };
  std::vector<Part> parts;
};

/// Names and weights of `mixture`, the entries themselves not yet filled in. Throws nothing: what is no weight was a
/// fault of check().
std::vector<DataConfig::Part> mixture_parts(const DataConfig& config);

/// One record: the conversation and, for verifiable tasks, how to check an answer.
struct Record {
  std::string prompt, response;        ///< last user turn; worked solution, "" where there is only a problem
  std::string system;                  ///< system turn of the record; "" = DataConfig::system_prompt
  std::vector<text::Message> history;  ///< turns before the prompt, beginning with a user's
  std::string text;                    ///< plain text instead of all these
  bool cut = false;                    ///< the response was cut at a limit
  std::string family;                  ///< for tables by family ("" = none)
  std::string where;                   ///< "train.jsonl:17", for messages; "" = generated
  Problem problem;                     ///< for checking; of a file only `answer`, where it has one, and `family` empty
};

/// All records. Throws ConfigError, IoError, DataError (file and record; empty set).
std::vector<Record> load_records(const DataConfig& config, int64_t seed);
/// How many load_records() would give; files are gone through without looking into their records.
int64_t count_records(const DataConfig& config, int64_t seed);

/// Changes when a file that the entry names does: its content, or of one beyond 1 GiB size and time; "" where it names
/// none. Throws IoError.
std::string files_fingerprint(const DataConfig& config);

/// An example longer than max_length.
class TooLong : public base::DataError {
 public:
  using base::DataError::DataError;
};

/// The turns that lead to a record's response: system, history, and the question with its instruction. Throws as
/// encode_prompt does.
std::vector<text::Message> prompt_turns(const Record& record, const DataConfig& config);
/// "<think>" and the white space behind it where a rendered prompt ends with them, else "".
std::string opened_thinking(const std::string& prompt);
/// Prompt ids (with generation prompt) of a record. Throws DataError on plain text, which has no prompt.
std::vector<int64_t> encode_prompt(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                                   const text::ChatTemplate& chat);
/// The whole conversation. Response and end of turn are encoded apart from what stands before them, just as they follow
/// it token by token in generation; where the generation prompt opens <think> already, the response's own is left out.
/// The loss mask by `loss_on`: all assistant turns with the end-of-turn text, or the last one only. A record of plain
/// text is learned whole, between BOS (where the model uses it) and EOS. Throws TooLong (length, limit); DataError: no
/// response, or a template that rewrites earlier turns so that they cannot be found again.
Example encode_example(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                       const text::ChatTemplate& chat);
/// All of them, or the first `most` that are not dropped. Throws DataError on the first that is too long (record
/// number), or when `too_long: drop` leaves none.
std::vector<Example> encode_examples(const std::vector<Record>& records, const DataConfig& config,
                                     const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                     int64_t most = std::numeric_limits<int64_t>::max());
/// The records whose prompts have at most max_length tokens. Throws DataError on the first longer one (record number)
/// unless `too_long: drop`, and when that leaves none.
std::vector<Record> with_fitting_prompts(std::vector<Record> records, const DataConfig& config,
                                         const text::Tokenizer& tokenizer, const text::ChatTemplate& chat);
/// Whether the response solves the record's problem (by its final answer; without the marker, by its last number). For
/// records from a file the response's marked answer must equal the record's reference answer, else that of the record's
/// response, or all of it where it marks none.
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

/// Examples packed so that no micro-batch exceeds `max_tokens` (0 = one micro-batch; a longer example stands alone):
/// one after the other, or, where that makes fewer, the longest first into the first micro-batch with room (first-fit
/// decreasing). Within a micro-batch they keep their order.
std::vector<std::vector<int64_t>> pack_micro_batches(const std::vector<int64_t>& lengths, int64_t max_tokens);

}  // namespace rqat::data
