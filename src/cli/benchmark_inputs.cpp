#include "benchmark_inputs.h"

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"
#include "token_ids.h"

namespace rqat::cli {

namespace {

using base::cat;
using pipeline::LoadedModel;
using Ids = std::vector<int64_t>;

data::DataConfig problem_settings(int64_t count) {
  data::DataConfig data;
  data.generators = data::tasks().names();
  data.num_examples = count;
  data.max_length = 4096;
  return data;
}

std::vector<data::Example> problems(const LoadedModel& loaded, int64_t count) {
  const data::DataConfig data = problem_settings(count);
  return data::encode_examples(data::load_records(data, 1), data, *loaded.tokenizer, *loaded.chat);
}

std::vector<Ids> from_file(const BenchmarkConfig& config, const LoadedModel& loaded, int64_t count) {
  const std::vector<Ids> lists = read_token_ids(config.ids);
  require_in_vocabulary(lists, loaded.model->config().vocab_size, config.ids);
  const auto least = static_cast<size_t>(std::max<int64_t>(config.sequence_length, 1));
  for (size_t i = 0; i < lists.size(); ++i) {
    if (lists[i].size() < least)
      throw base::DataError(
          cat(config.ids, ": list ", i, " holds ", lists[i].size(), " ids; at least ", least, " are needed"));
  }
  std::vector<Ids> sequences;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    sequences.push_back(lists[i % lists.size()]);
    if (config.sequence_length > 0) sequences.back().resize(least);
  }
  return sequences;
}

/// Problems laid end to end and cut.
std::vector<Ids> windows(const BenchmarkConfig& config, const LoadedModel& loaded, int64_t count) {
  const auto length = static_cast<size_t>(config.sequence_length), needed = length * static_cast<size_t>(count);
  Ids text;
  for (int64_t number = 64; text.size() < needed; number *= 2) {
    text.clear();
    for (const data::Example& example : problems(loaded, number))
      text.insert(text.end(), example.ids.begin(), example.ids.end());
  }
  std::vector<Ids> sequences;
  for (auto begin = text.begin(); sequences.size() < static_cast<size_t>(count);
       begin += static_cast<std::ptrdiff_t>(length))
    sequences.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(length));
  return sequences;
}

}  // namespace

std::vector<data::Example> benchmark_examples(const BenchmarkConfig& config, const LoadedModel& loaded, int64_t count) {
  if (config.ids.empty() && config.sequence_length == 0) return problems(loaded, count);
  std::vector<data::Example> examples;
  for (Ids& ids : config.ids.empty() ? windows(config, loaded, count) : from_file(config, loaded, count)) {
    std::vector<uint8_t> mask(ids.size(), 1);
    examples.push_back({std::move(ids), std::move(mask)});
  }
  return examples;
}

std::vector<Ids> benchmark_prompts(const BenchmarkConfig& config, const LoadedModel& loaded) {
  if (!config.ids.empty()) return from_file(config, loaded, config.batch_size);
  if (config.sequence_length > 0) return windows(config, loaded, config.batch_size);
  const data::DataConfig data = problem_settings(config.batch_size);
  std::vector<Ids> prompts;
  for (const data::Record& record : data::load_records(data, 1))
    prompts.push_back(data::encode_prompt(record, data, *loaded.tokenizer, *loaded.chat));
  return prompts;
}

}  // namespace rqat::cli
