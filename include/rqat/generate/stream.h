// One sequence, token by token, for people who watch.
#pragma once

#include <functional>

#include "rqat/generate/engine.h"

namespace rqat::generate {

/// The completion that Engine::generate gives for this one request and seed (sample 0); `on_token` gets each id as soon
/// as it is drawn, the stop token included. Throws as Engine does; `max_length` = prompt + new tokens.
Completion generate_stream(model::CausalLM& model, const std::vector<int64_t>& stop_ids,
                           const std::vector<int64_t>& prompt, const SamplingConfig& sampling, uint64_t seed,
                           int64_t max_length, const std::function<void(int64_t id)>& on_token);

}  // namespace rqat::generate
