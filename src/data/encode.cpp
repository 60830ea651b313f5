#include "rqat/answer/answer.h"
#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

std::vector<int64_t> encode_prompt(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                                   const text::ChatTemplate& chat) {
  std::vector<text::Message> messages;
  const std::string& system = record.system.empty() ? config.system_prompt : record.system;
  if (!system.empty()) messages.push_back({"system", system});
  std::string question = record.prompt;
  if (!config.instruction.empty()) question += "\n" + config.instruction;
  messages.push_back({"user", std::move(question)});
  return tokenizer.encode(chat.render(messages, /*add_generation_prompt=*/true));
}

Example encode_example(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                       const text::ChatTemplate& chat) {
  Example example;
  example.ids = encode_prompt(record, config, tokenizer, chat);
  // Response and end of turn are encoded apart from the prompt: just as they follow it token by token in generation.
  const std::vector<int64_t> response = tokenizer.encode(record.response + base::trim(chat.stop_text()));
  example.loss_mask.assign(example.ids.size(), 0);
  example.ids.insert(example.ids.end(), response.begin(), response.end());
  example.loss_mask.resize(example.ids.size(), 1);
  if (static_cast<int64_t>(example.ids.size()) > config.max_length) {
    throw base::DataError(base::cat("an example has ", example.ids.size(), " tokens, max_length is ", config.max_length,
                                    " (\"", record.prompt.substr(0, 60),
                                    "...\"); raise max_length, or set too_long: drop"));
  }
  return example;
}

std::vector<Example> encode_examples(const std::vector<Record>& records, const DataConfig& config,
                                     const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, int64_t most) {
  std::vector<Example> examples;
  size_t dropped = 0;
  for (const Record& record : records) {
    if (static_cast<int64_t>(examples.size()) == most) break;
    try {
      examples.push_back(encode_example(record, config, tokenizer, chat));
    } catch (const base::DataError& error) {
      if (config.too_long != "drop") {
        throw base::DataError(base::cat("record ", &record - records.data() + 1, ": ", error.what()));
      }
      ++dropped;
    }
  }
  if (!examples.empty() && dropped > 0) {
    base::log_warning(base::cat(dropped, " of ", examples.size() + dropped, " examples are longer than max_length ",
                                config.max_length, " and were dropped"));
  }
  if (examples.empty()) {
    throw base::DataError(base::cat("all ", records.size(), " records are longer than max_length ", config.max_length,
                                    ": the data set is empty"));
  }
  return examples;
}

bool check_response(const Record& record, std::string_view response) {
  if (record.problem.family.empty()) {
    // A response without a marked answer is the bare answer itself, as many files of problems have it.
    const auto wanted = answer::extract(record.response), given = answer::extract(response);
    return given && answer::equal(wanted.value_or(record.response), *given);
  }
  if (answer::extract(response)) return tasks().make(record.problem.family)->check(record.problem, response);
  // A model that never saw the answer format is judged by the last number it wrote.
  const auto number = answer::last_number(response);
  return number && answer::equal(*number, record.problem.answer);
}

}  // namespace rqat::data
