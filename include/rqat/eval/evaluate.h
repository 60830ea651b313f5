// Accuracy on verifiable tasks by generation; KL to a teacher and perplexity on worked solutions by forward passes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rqat/data/dataset.h"
#include "rqat/dist/communicator.h"
#include "rqat/generate/engine.h"
#include "rqat/model/causal_lm.h"

namespace rqat::eval {

/// A share with its 95 % Wilson interval.
struct Proportion {
  int64_t successes = 0, total = 0;
  double value = 0, low = 0, high = 0;
};
Proportion proportion(int64_t successes, int64_t total);

/// Mean difference b - a of paired 0/1 outcomes with a 95 % percentile bootstrap interval (10,000 resamples, seeded).
/// `shown` = the interval excludes 0. Throws DataError unless both hold the same number of outcomes, at least one.
struct PairedDifference {
  double mean = 0, low = 0, high = 0;
  bool shown = false;
};
PairedDifference paired_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b, uint64_t seed);

struct TaskResult {
  std::vector<uint8_t> correct;        ///< per record
  std::vector<std::string> responses;  ///< per record
  std::map<std::string, Proportion> by_family;
  Proportion overall;
  double mean_response_tokens = 0;
  double cut_share = 0;  ///< responses cut at the limit
  double seconds = 0, tokens_per_second = 0;
};
/// Greedy or sampled answers to every record, checked. `batch` = sequences decoded at once; prompt and response may be
/// as long as the model's max_position_embeddings. The text of a response is judged (data::check_response), as peers
/// do, also of one that was cut at the limit - unless it was cut inside its answer (answer::ends_inside_answer): that
/// one is wrong. Throws DataError when there are no records, and what Engine::generate throws.
TaskResult evaluate_tasks(model::CausalLM& model, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                          const std::vector<int64_t>& stop_ids, const std::vector<data::Record>& records,
                          const data::DataConfig& data, const generate::SamplingConfig& sampling, int64_t batch,
                          uint64_t seed, const std::function<void(int64_t, int64_t)>& progress = {},
                          dist::Communicator& world = dist::solo());

struct LikelihoodResult {
  double perplexity = 0;                ///< of response tokens
  std::optional<double> kl_to_teacher;  ///< mean KL(teacher || model) per response token, nats
  int64_t tokens = 0;
};
/// `teacher` may be null or the model itself. Throws DataError when there is no response token, or a sum is not finite.
LikelihoodResult evaluate_likelihood(model::CausalLM& model, model::CausalLM* teacher,
                                     const std::vector<data::Example>& examples, int64_t max_tokens_per_batch = 4096,
                                     dist::Communicator& world = dist::solo());

}  // namespace rqat::eval
