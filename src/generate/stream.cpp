#include "rqat/generate/stream.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/rng.h"
#include "rqat/base/strings.h"
#include "rqat/nn/batch.h"
#include "sampler.h"

namespace rqat::generate {

Completion generate_stream(model::CausalLM& model, const std::vector<int64_t>& stop_ids,
                           const std::vector<int64_t>& prompt, const SamplingConfig& sampling, uint64_t seed,
                           int64_t max_length, const std::function<void(int64_t id)>& on_token) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(prompt.size());
  const int64_t most = std::min(sampling.max_new_tokens, max_length - length);
  if (most < 1) {
    throw base::DataError(base::cat("generate: the prompt has ", length,
                                    " tokens and leaves no room for an answer: prompt and answer may have ", max_length,
                                    " together"));
  }
  const std::unique_ptr<nn::KvCache> cache = model.make_cache(1, length + most);
  base::Rng rng(seed, "samples of request 0", 0);
  Completion completion;
  nn::TokenBatch batch = nn::make_token_batch({prompt});
  while (true) {
    const at::Tensor hidden = model.hidden(batch.to(model.device()), *cache, {0});
    const Draw draw = draw_tokens(model.logits(hidden.slice(0, hidden.size(0) - 1)), {0}, {rng.uniform()}, sampling)[0];
    if (draw.id < 0) {
      throw base::DataError(
          base::cat("generate: the logits of token ", completion.ids.size() + 1,
                    " are not finite; the model's weights or scales are broken, check them with `rqat inspect`"));
    }
    completion.ids.push_back(draw.id);
    completion.log_probs.push_back(draw.log_prob);
    on_token(draw.id);
    completion.finished = std::find(stop_ids.begin(), stop_ids.end(), draw.id) != stop_ids.end();
    if (completion.finished || static_cast<int64_t>(completion.ids.size()) >= most) return completion;
    batch = nn::make_token_batch({{draw.id}});
    batch.positions.fill_(cache->length(0));
  }
}

}  // namespace rqat::generate
