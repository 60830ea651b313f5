#include "rqat/answer/answer.h"
#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

namespace {

using base::cat;

/// Ids and mask, piece by piece.
class Pieces {
 public:
  Pieces(const text::Tokenizer& tokenizer, bool learn_all) : tokenizer_(tokenizer), learn_all_(learn_all) {}
  void add(const std::string& text, bool learned) {
    const std::vector<int64_t> ids = tokenizer_.encode(text);
    example_.ids.insert(example_.ids.end(), ids.begin(), ids.end());
    example_.loss_mask.resize(example_.ids.size(), learned || learn_all_ ? 1 : 0);
  }
  Example take() { return std::move(example_); }

 private:
  const text::Tokenizer& tokenizer_;
  bool learn_all_;
  Example example_;
};

constexpr std::string_view kThink = "<think>";

/// The response as it follows `prompt`: without a <think> that the prompt ends with.
std::string continuing(const std::string& prompt, const std::string& response) {
  const std::string opened = opened_thinking(prompt);
  if (opened.empty() || !base::starts_with(response, kThink)) return response;
  return response.substr(base::starts_with(response, opened) ? opened.size() : kThink.size());
}

[[noreturn]] void rewritten(const text::ChatTemplate& chat) {
  throw base::DataError(cat("the chat template (", chat.name(),
                            ") writes earlier turns otherwise than they were said (it may drop <think> blocks), so the "
                            "loss cannot cover them; set loss_on: last_response"));
}

/// Up to the generation prompt of the last response, the assistant turns before it learned. Returns the text.
std::string add_history(const std::vector<text::Message>& turns, const text::ChatTemplate& chat, Pieces& pieces) {
  const std::string stop = base::trim(chat.stop_text());
  std::string done;
  for (size_t i = 0; i <= turns.size(); ++i) {
    if (i < turns.size() && turns[i].role != "assistant") continue;
    std::string prompt = chat.render({turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(i)}, true);
    if (!base::starts_with(prompt, done)) rewritten(chat);
    pieces.add(prompt.substr(done.size()), false);
    if (i == turns.size()) return prompt;
    // Some templates trim what was said.
    const std::string after = chat.render({turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(i + 1)}, false);
    std::string said = continuing(prompt, turns[i].content) + stop;
    if (!base::starts_with(after, prompt + said)) said = base::trim(continuing(prompt, turns[i].content)) + stop;
    if (!base::starts_with(after, prompt + said)) rewritten(chat);
    pieces.add(said, true);
    done = prompt + said;
  }
  return done;
}

Example encode_text(const Record& record, const text::Tokenizer& tokenizer) {
  Example example;
  example.ids = tokenizer.encode(record.text);
  // A text that was rendered by a chat template begins with BOS already.
  if (example.ids.empty() || example.ids.front() != tokenizer.bos_id())
    example.ids = tokenizer.with_special(example.ids);
  const int64_t eos = tokenizer.eos_id();
  if (eos >= 0 && (example.ids.empty() || example.ids.back() != eos)) example.ids.push_back(eos);
  example.loss_mask.assign(example.ids.size(), 1);
  return example;
}

Example encode_conversation(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                            const text::ChatTemplate& chat) {
  const std::vector<text::Message> turns = prompt_turns(record, config);
  if (record.response.empty()) throw base::DataError("a record has no response to learn; map one by `answer`");
  Pieces pieces(tokenizer, config.loss_on == "all");
  std::string prompt;
  if (config.loss_on == "responses" && !record.history.empty()) {
    prompt = add_history(turns, chat, pieces);
  } else {
    prompt = chat.render(turns, /*add_generation_prompt=*/true);
    pieces.add(prompt, false);
  }
  // An answer that was cut does not show where to stop.
  pieces.add(continuing(prompt, record.response) + (record.cut ? "" : base::trim(chat.stop_text())), true);
  return pieces.take();
}

std::string place(const Record& record, size_t index) {
  return cat("record ", index + 1, record.where.empty() ? "" : cat(" (", record.where, ")"));
}

}  // namespace

std::vector<text::Message> prompt_turns(const Record& record, const DataConfig& config) {
  if (!record.text.empty())
    throw base::DataError(
        "a record of plain text has no prompt to answer; map its columns to `question` or `messages`");
  std::vector<text::Message> messages;
  const std::string& system = record.system.empty() ? config.system_prompt : record.system;
  if (!system.empty()) messages.push_back({"system", system});
  messages.insert(messages.end(), record.history.begin(), record.history.end());
  std::string question = record.prompt;
  if (!config.instruction.empty()) question += "\n" + config.instruction;
  messages.push_back({"user", std::move(question)});
  return messages;
}

std::string opened_thinking(const std::string& prompt) {
  const size_t opened = prompt.rfind(kThink);
  if (opened == std::string::npos || !base::trim(prompt.substr(opened + kThink.size())).empty()) return "";
  return prompt.substr(opened);
}

std::vector<int64_t> encode_prompt(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                                   const text::ChatTemplate& chat) {
  return tokenizer.encode(chat.render(prompt_turns(record, config), /*add_generation_prompt=*/true));
}

Example encode_example(const Record& record, const DataConfig& config, const text::Tokenizer& tokenizer,
                       const text::ChatTemplate& chat) {
  Example example =
      record.text.empty() ? encode_conversation(record, config, tokenizer, chat) : encode_text(record, tokenizer);
  if (static_cast<int64_t>(example.ids.size()) <= config.max_length) return example;
  if (config.too_long != "truncate") {
    const std::string& shown = record.text.empty() ? record.prompt : record.text;
    throw TooLong(cat("an example has ", example.ids.size(), " tokens, max_length is ", config.max_length, " (\"",
                      shown.substr(0, 60), "...\"); raise max_length, or set too_long: drop"));
  }
  example.ids.resize(static_cast<size_t>(config.max_length));
  example.loss_mask.resize(example.ids.size());
  if (example.num_targets() > 0) return example;
  throw TooLong(cat("nothing that is learned is left of an example of which the first max_length ", config.max_length,
                    " tokens are kept (\"", record.prompt.substr(0, 60),
                    "...\"); raise max_length, or set too_long: drop"));
}

std::vector<Example> encode_examples(const std::vector<Record>& records, const DataConfig& config,
                                     const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, int64_t most) {
  std::vector<Example> examples;
  size_t dropped = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    if (static_cast<int64_t>(examples.size()) == most) break;
    try {
      examples.push_back(encode_example(records[i], config, tokenizer, chat));
    } catch (const TooLong& error) {
      if (config.too_long != "drop") throw base::DataError(cat(place(records[i], i), ": ", error.what()));
      ++dropped;
    } catch (const base::DataError& error) {
      throw base::DataError(cat(place(records[i], i), ": ", error.what()));
    }
  }
  if (!examples.empty() && dropped > 0) {
    base::log_warning(cat(dropped, " of ", examples.size() + dropped, " examples are longer than max_length ",
                          config.max_length, " and were dropped"));
  }
  if (examples.empty()) {
    throw base::DataError(cat("all ", records.size(), " records are longer than max_length ", config.max_length,
                              ": the data set is empty"));
  }
  return examples;
}

std::vector<Record> with_fitting_prompts(std::vector<Record> records, const DataConfig& config,
                                         const text::Tokenizer& tokenizer, const text::ChatTemplate& chat) {
  const size_t all = records.size();
  std::vector<Record> fitting;
  for (size_t i = 0; i < all; ++i) {
    const auto length = static_cast<int64_t>(encode_prompt(records[i], config, tokenizer, chat).size());
    if (length <= config.max_length) {
      fitting.push_back(std::move(records[i]));
    } else if (config.too_long != "drop") {
      throw base::DataError(cat(place(records[i], i), ": its prompt has ", length, " tokens, max_length is ",
                                config.max_length, " (\"", records[i].prompt.substr(0, 60),
                                "...\"); raise max_length, or set too_long: drop"));
    }
  }
  if (fitting.empty())
    throw base::DataError(cat("all ", all, " prompts are longer than max_length ", config.max_length));
  if (fitting.size() < all) {
    base::log_warning(cat(all - fitting.size(), " of ", all, " prompts are longer than max_length ", config.max_length,
                          " and were dropped"));
  }
  return fitting;
}

bool check_response(const Record& record, std::string_view response) {
  if (record.problem.family.empty()) {
    // A text without a marked answer is the bare answer itself, as many files of problems have it.
    const std::string& known = record.problem.answer.empty() ? record.response : record.problem.answer;
    const auto wanted = answer::extract(known), given = answer::extract(response);
    return given && answer::equal(wanted.value_or(known), *given);
  }
  if (answer::extract(response)) return tasks().make(record.problem.family)->check(record.problem, response);
  // A model that never saw the answer format is judged by the last number it wrote.
  const auto number = answer::last_number(response);
  return number && answer::equal(*number, record.problem.answer);
}

}  // namespace rqat::data
