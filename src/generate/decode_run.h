// One call of Engine::generate: which sequence sits in which slot of the cache, and the steps until all are done.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "rqat/base/rng.h"
#include "rqat/generate/engine.h"
#include "rqat/nn/kv_cache.h"
#include "sampler.h"

namespace rqat::generate {

using Progress = std::function<void(int64_t done, int64_t total)>;

/// New tokens for a prompt of so many: max_new_tokens, or as many as max_length leaves room for.
inline int64_t room_for(int64_t prompt_length, const SamplingConfig& sampling, int64_t max_length) {
  return std::min(sampling.max_new_tokens, max_length - prompt_length);
}

class DecodeRun {
 public:
  DecodeRun(model::CausalLM& model, const std::vector<int64_t>& stop_ids, const std::vector<Request>& requests,
            const SamplingConfig& sampling, uint64_t seed, int64_t slots, int64_t max_length, const Progress& progress);
  std::vector<std::vector<Completion>> run();
  const EngineStats& stats() const { return stats_; }

 private:
  struct Slot {
    int64_t request = -1;  ///< whose prompt its first positions hold, also after its sample has ended; -1 = none
    int64_t sample = 0;
    int64_t token = 0;  ///< drawn, not yet in the cache
    bool running = false;
    base::Rng rng{0};
  };
  struct Copy {
    int64_t from, to;
  };

  /// What one step starts.
  struct Admission {
    std::vector<int64_t> starts;    ///< slots whose sample begins, those of one request after each other
    std::vector<int64_t> prefills;  ///< those of them whose prompt has to be computed
    std::vector<Copy> copies;       ///< prompts held by another slot
  };

  /// One token for every running sequence, and the first one for those that start: one forward of the model.
  void step();
  /// Starts samples in free slots, requests in order.
  Admission admit();
  void start(int64_t slot, int64_t request);
  int64_t stream_of(int64_t request) const;
  int64_t free_slot_with_prompt(int64_t request) const;
  int64_t running_slot_with_prompt(int64_t request) const;
  int64_t any_free_slot() const;
  /// Computes what all prompts begin with, once for the whole run.
  void prefill_shared();
  /// The last tokens of the running slots and the prompts of the prefilled ones. Returns the rows of the former; the
  /// latter's go to prompt_hidden_.
  at::Tensor forward(const std::vector<int64_t>& running, const std::vector<int64_t>& prefills);
  void copy_prompt(const Copy& copy);
  /// Draws the next token of each of `slots`, from row rows[i] of hidden [R, D].
  void draw(const at::Tensor& hidden, const std::vector<int64_t>& slots, const std::vector<int64_t>& rows);
  void accept(Slot& slot, const Draw& draw);

  model::CausalLM& model_;
  const std::vector<int64_t>& stop_ids_;
  const std::vector<Request>& requests_;
  const SamplingConfig& sampling_;
  uint64_t seed_;
  int64_t max_length_;
  const Progress& progress_;
  std::unique_ptr<nn::KvCache> cache_;
  std::vector<Slot> slots_;
  std::vector<std::vector<Completion>> completions_;
  std::vector<int64_t> started_;           ///< samples per request
  std::vector<at::Tensor> prompt_hidden_;  ///< [D] after the prompt's last token, until the whole group has started
  int64_t shared_ = 0;  ///< tokens all prompts begin with that are held in the cache's last slot; 0 = none
  size_t open_ = 0;     ///< first request with samples to start
  int64_t done_ = 0, total_ = 0;
  EngineStats stats_;
};

}  // namespace rqat::generate
