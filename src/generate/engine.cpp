#include "rqat/generate/engine.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "completion_bytes.h"
#include "decode_run.h"
#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"

namespace rqat::generate {

namespace {

void check_sampling(const SamplingConfig& sampling) {
  const auto fail = [](const std::string& text) { throw base::ConfigError("sampling: " + text); };
  if (!(sampling.temperature >= 0)) fail(base::cat("temperature is ", sampling.temperature, ", expected >= 0"));
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    fail(base::cat("top_p is ", sampling.top_p, ", expected > 0 and <= 1"));
  if (sampling.top_k < 0) fail(base::cat("top_k is ", sampling.top_k, ", expected >= 0 (0 = all tokens)"));
  if (sampling.max_new_tokens < 1) fail(base::cat("max_new_tokens is ", sampling.max_new_tokens, ", expected >= 1"));
}

void check_request(const Request& request, size_t number, int64_t max_length) {
  const auto fail = [&](const std::string& text) {
    throw base::DataError(base::cat("generate: request ", number, ": ", text));
  };
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) fail("the prompt is empty, expected at least one token");
  if (request.num_samples < 1) fail(base::cat("num_samples is ", request.num_samples, ", expected >= 1"));
  if (length >= max_length) {
    fail(base::cat("the prompt has ", length, " tokens and leaves no room for an answer: prompt and answer may have ",
                   max_length, " together"));
  }
}

}  // namespace

void SamplingConfig::fields(base::FieldVisitor& v) {
  v.field("temperature", temperature, "divides the logits before a token is drawn; 0 = take the most probable token",
          base::non_negative());
  v.field("top_p", top_p, "draw from the most probable tokens that hold this much of the mass; 1 = off",
          base::Range{0, 1, /*low_open=*/true});
  v.field("top_k", top_k, "draw from the k most probable tokens; 0 = off", base::non_negative());
  v.field("max_new_tokens", max_new_tokens, "longest response in tokens", base::Range{1, 1e6});
}

Engine::Engine(model::CausalLM& model, std::vector<int64_t> stop_ids, int64_t max_slots, int64_t max_length,
               dist::Communicator& world)
    : model_(model), world_(world), stop_ids_(std::move(stop_ids)), max_slots_(max_slots), max_length_(max_length) {
  if (max_slots < 1) throw std::invalid_argument(base::cat("generate: max_slots is ", max_slots, ", expected >= 1"));
}

std::vector<std::vector<Completion>> Engine::generate(
    const std::vector<Request>& requests, const SamplingConfig& sampling, uint64_t seed,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  if (world_.alone()) return generate_here(requests, sampling, seed, progress);
  const auto [begin, end] = world_.share(static_cast<int64_t>(requests.size()));
  std::vector<Request> own(requests.begin() + begin, requests.begin() + end);
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i].stream < 0) own[i].stream = begin + static_cast<int64_t>(i);
  }
  std::vector<std::vector<Completion>> all;
  for (const std::string& bytes : world_.all_gather_text(to_bytes(generate_here(own, sampling, seed, progress)))) {
    for (std::vector<Completion>& group : from_bytes(bytes)) all.push_back(std::move(group));
  }
  share_stats();
  return all;
}

void Engine::share_stats() {
  const auto sums = world_.sum({{"prompt_tokens", static_cast<double>(stats_.prompt_tokens)},
                                {"new_tokens", static_cast<double>(stats_.new_tokens)}});
  stats_.prompt_tokens = static_cast<int64_t>(sums.at("prompt_tokens"));
  stats_.new_tokens = static_cast<int64_t>(sums.at("new_tokens"));
  stats_.seconds = world_.max(stats_.seconds);
}

std::vector<std::vector<Completion>> Engine::generate_here(const std::vector<Request>& requests,
                                                           const SamplingConfig& sampling, uint64_t seed,
                                                           const std::function<void(int64_t, int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  const base::PulseSection steady;
  const auto begin = std::chrono::steady_clock::now();
  check_sampling(sampling);
  int64_t samples = 0, narrow = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    check_request(requests[i], i + 1, max_length_);
    samples += requests[i].num_samples;
    const auto length = static_cast<int64_t>(requests[i].prompt.size());
    narrow += room_for(length, sampling, max_length_) < sampling.max_new_tokens ? 1 : 0;
  }
  stats_ = {};
  if (requests.empty()) return {};
  if (narrow > 0) {
    base::log_warning(base::cat(narrow, " of ", requests.size(), " prompts leave less room than max_new_tokens ",
                                sampling.max_new_tokens, ": prompt and answer may have ", max_length_,
                                " tokens together, longer answers are cut there"));
  }
  DecodeRun run(model_, stop_ids_, requests, sampling, seed, std::min(max_slots_, samples), max_length_, progress);
  auto completions = run.run();
  stats_ = run.stats();
  stats_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return completions;
}

}  // namespace rqat::generate
