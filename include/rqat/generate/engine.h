// Batched decoding with a KV cache: finished slots are refilled at once, a prompt is prefilled once for its whole
// group.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/dist/communicator.h"
#include "rqat/model/causal_lm.h"

namespace rqat::generate {

struct SamplingConfig : base::Config {
  double temperature = 0.0;  ///< 0 = greedy
  double top_p = 1.0;        ///< nucleus
  int64_t top_k = 0;         ///< 0 = all
  int64_t max_new_tokens = 128;
  void fields(base::FieldVisitor& v) override;
};

struct Request {
  std::vector<int64_t> prompt;
  int64_t num_samples = 1;
  int64_t stream = -1;  ///< number of its random stream; -1 = its place among the requests
};

struct Completion {
  std::vector<int64_t> ids;  ///< new tokens, the stop token included when one was drawn
  std::vector<float>
      log_probs;  ///< of each under softmax(logits / temperature) before top-p/top-k (temperature 1 when greedy)
  bool finished = false;  ///< a stop token was drawn; false = cut at the limit
};

struct EngineStats {
  int64_t prompt_tokens = 0;  ///< prefilled: each prompt counts once, however many samples it has, and
                              ///< what all prompts begin with counts once (from 16 tokens on)
  int64_t new_tokens = 0, steps = 0, peak_slots = 0;
  double seconds = 0;
};

class Engine {
 public:
  /// Runs with the linears' present execution mode. `max_slots` sequences at once; `max_length`: prompt + new tokens,
  /// longer answers are cut there (with a warning where a prompt leaves less room than max_new_tokens).
  /// With several ranks in `world` each answers a share of the requests, and all get all answers.
  /// Throws std::invalid_argument when max_slots < 1.
  Engine(model::CausalLM& model, std::vector<int64_t> stop_ids, int64_t max_slots, int64_t max_length,
         dist::Communicator& world = dist::solo());

  /// completions[r][n]. The stream of sample n of request r depends on (seed, r, n) alone: not on slots, order or batch
  /// size. Streams are equal as far as the model's rows are: bf16 products of another batch shape may round
  /// differently. A row of the vocabulary is held for as many sequences as 32 MiB of fp32 take, at least one. Throws
  /// DataError (request number, length, limit) when a prompt leaves no room for a token, is empty, or asks for no
  /// samples, and when logits are not finite; ConfigError when `sampling` is out of range.
  std::vector<std::vector<Completion>> generate(const std::vector<Request>& requests, const SamplingConfig& sampling,
                                                uint64_t seed,
                                                const std::function<void(int64_t done, int64_t total)>& progress = {});
  /// Of the last generate(); counts over all ranks, seconds of the slowest.
  const EngineStats& stats() const { return stats_; }

 private:
  std::vector<std::vector<Completion>> generate_here(const std::vector<Request>& requests,
                                                     const SamplingConfig& sampling, uint64_t seed,
                                                     const std::function<void(int64_t, int64_t)>& progress);
  void share_stats();

  model::CausalLM& model_;
  dist::Communicator& world_;
  std::vector<int64_t> stop_ids_;
  int64_t max_slots_, max_length_;
  EngineStats stats_;
};

}  // namespace rqat::generate
