#include "decode_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::generate {

namespace {

constexpr int64_t kCapacityStep = 16;               // the cache's capacity is a multiple of this
constexpr int64_t kPrefillTokens = 2048;            // of all prompts of one forward, unless a single one is longer
constexpr int64_t kLogitBytes = int64_t{32} << 20;  // of the fp32 logits held at once

/// Each prompt keeps its last token, whose row predicts the answer's first.
int64_t shared_by_all(const std::vector<Request>& requests) {
  std::vector<const std::vector<int64_t>*> prompts;
  size_t shortest = std::numeric_limits<int64_t>::max();
  for (const Request& request : requests) {
    prompts.push_back(&request.prompt);
    shortest = std::min(shortest, request.prompt.size());
  }
  return nn::shared_prefix(prompts, static_cast<int64_t>(shortest) - 1);
}

}  // namespace

DecodeRun::DecodeRun(model::CausalLM& model, const std::vector<int64_t>& stop_ids, const std::vector<Request>& requests,
                     const SamplingConfig& sampling, uint64_t seed, int64_t slots, int64_t max_length,
                     const Progress& progress)
    : model_(model),
      stop_ids_(stop_ids),
      requests_(requests),
      sampling_(sampling),
      seed_(seed),
      max_length_(max_length),
      progress_(progress),
      slots_(static_cast<size_t>(slots)),
      started_(requests.size(), 0),
      prompt_hidden_(requests.size()),
      shared_(shared_by_all(requests)) {
  int64_t longest = 0;
  for (const Request& request : requests) {
    const auto length = static_cast<int64_t>(request.prompt.size());
    longest = std::max(longest, length + room_for(length, sampling, max_length));
    completions_.emplace_back(static_cast<size_t>(request.num_samples));
    total_ += request.num_samples;
  }
  const int64_t capacity = (longest + kCapacityStep - 1) / kCapacityStep * kCapacityStep;
  cache_ = model.make_cache(slots + (shared_ > 0 ? 1 : 0), capacity);
}

std::vector<std::vector<Completion>> DecodeRun::run() {
  if (shared_ > 0) prefill_shared();
  while (done_ < total_) step();
  return std::move(completions_);
}

void DecodeRun::step() {
  std::vector<int64_t> running;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].running) running.push_back(static_cast<int64_t>(i));
  }
  const Admission admitted = admit();
  std::vector<at::Tensor> hidden;  // rows to draw from
  if (!running.empty() || !admitted.prefills.empty()) hidden.push_back(forward(running, admitted.prefills));
  for (const Copy& copy : admitted.copies) copy_prompt(copy);

  std::vector<int64_t> slots = running, rows(running.size());
  std::iota(rows.begin(), rows.end(), 0);
  auto row = static_cast<int64_t>(running.size()) - 1;
  for (size_t i = 0; i < admitted.starts.size(); ++i) {
    const int64_t slot = admitted.starts[i], request = slots_[static_cast<size_t>(slot)].request;
    cache_->set_length(slot, static_cast<int64_t>(requests_[static_cast<size_t>(request)].prompt.size()));
    if (i == 0 || slots_[static_cast<size_t>(admitted.starts[i - 1])].request != request) {
      hidden.push_back(prompt_hidden_[static_cast<size_t>(request)].unsqueeze(0));
      ++row;
    }
    slots.push_back(slot);
    rows.push_back(row);
  }
  for (size_t request = 0; request < open_; ++request) prompt_hidden_[request].reset();
  draw(at::cat(hidden), slots, rows);
}

DecodeRun::Admission DecodeRun::admit() {
  Admission admitted;
  int64_t tokens = 0;
  while (open_ < requests_.size()) {
    const auto request = static_cast<int64_t>(open_);
    const auto prompt_size = static_cast<int64_t>(requests_[open_].prompt.size());
    int64_t slot = free_slot_with_prompt(request);
    if (slot < 0) {
      slot = any_free_slot();
      if (slot < 0) break;
      const int64_t source = running_slot_with_prompt(request);
      if (source < 0 && !admitted.prefills.empty() && tokens + prompt_size > kPrefillTokens) break;
      if (source < 0) {
        admitted.prefills.push_back(slot);
        tokens += prompt_size;
      } else {
        admitted.copies.push_back({source, slot});
      }
    }
    start(slot, request);
    admitted.starts.push_back(slot);
  }
  return admitted;
}

void DecodeRun::start(int64_t slot, int64_t request) {
  const int64_t sample = started_[open_]++;
  Slot& started = slots_[static_cast<size_t>(slot)];
  started.request = request;
  started.sample = sample;
  started.running = true;
  started.rng = base::Rng(seed_, base::cat("samples of request ", stream_of(request)), static_cast<uint64_t>(sample));
  if (started_[open_] == requests_[open_].num_samples) ++open_;
  const int64_t running = std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.running; });
  stats_.peak_slots = std::max(stats_.peak_slots, running);
}

int64_t DecodeRun::stream_of(int64_t request) const {
  const int64_t stream = requests_[static_cast<size_t>(request)].stream;
  return stream >= 0 ? stream : request;
}

int64_t DecodeRun::free_slot_with_prompt(int64_t request) const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].running && slots_[i].request == request) return static_cast<int64_t>(i);
  }
  return -1;
}

int64_t DecodeRun::running_slot_with_prompt(int64_t request) const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].running && slots_[i].request == request) return static_cast<int64_t>(i);
  }
  return -1;
}

int64_t DecodeRun::any_free_slot() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].running) return static_cast<int64_t>(i);
  }
  return -1;
}

void DecodeRun::prefill_shared() {
  const auto begin = requests_.front().prompt.begin();
  model_.hidden(nn::make_token_batch({{begin, begin + shared_}}).to(model_.device()), *cache_, {cache_->slots() - 1});
  stats_.prompt_tokens += shared_;
}

at::Tensor DecodeRun::forward(const std::vector<int64_t>& running, const std::vector<int64_t>& prefills) {
  std::vector<int64_t> slots = running, ids, positions;
  nn::TokenBatch batch;
  const auto add = [&](const int64_t* begin, const int64_t* end, int64_t position) {
    const auto first = static_cast<int64_t>(ids.size());
    ids.insert(ids.end(), begin, end);
    for (; begin != end; ++begin) positions.push_back(position++);
    batch.segments.push_back({first, static_cast<int64_t>(ids.size()), -1});
  };
  for (const int64_t slot : running) {
    const int64_t* token = &slots_[static_cast<size_t>(slot)].token;
    add(token, token + 1, cache_->length(slot));
  }
  for (const int64_t slot : prefills) {
    const auto& prompt = requests_[static_cast<size_t>(slots_[static_cast<size_t>(slot)].request)].prompt;
    cache_->set_length(slot, 0);
    if (shared_ > 0) cache_->copy_slot(cache_->slots() - 1, slot);
    add(prompt.data() + shared_, prompt.data() + prompt.size(), shared_);
    slots.push_back(slot);
  }
  batch.ids = at::tensor(ids, at::kLong);
  batch.positions = at::tensor(positions, at::kLong);
  const at::Tensor hidden = model_.hidden(batch.to(model_.device()), *cache_, slots);
  const auto decoded = static_cast<int64_t>(running.size());
  for (size_t i = 0; i < prefills.size(); ++i) {
    const int64_t last = batch.segments[running.size() + i].end - 1;
    prompt_hidden_[static_cast<size_t>(slots_[static_cast<size_t>(prefills[i])].request)] = hidden[last].clone();
  }
  stats_.prompt_tokens += hidden.size(0) - decoded;
  stats_.steps += decoded > 0 ? 1 : 0;
  return hidden.slice(0, 0, decoded);
}

void DecodeRun::copy_prompt(const Copy& copy) {
  const int64_t length = cache_->length(copy.from);
  const int64_t request = slots_[static_cast<size_t>(copy.to)].request;
  cache_->set_length(copy.from, static_cast<int64_t>(requests_[static_cast<size_t>(request)].prompt.size()));
  cache_->copy_slot(copy.from, copy.to);
  cache_->set_length(copy.from, length);
}

void DecodeRun::draw(const at::Tensor& hidden, const std::vector<int64_t>& slots, const std::vector<int64_t>& rows) {
  const int64_t chunk = std::max<int64_t>(1, kLogitBytes / 4 / model_.config().vocab_size);
  size_t first = 0;
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
    const int64_t end = std::min(begin + chunk, hidden.size(0));
    std::vector<int64_t> chunk_rows;
    std::vector<double> uniforms;
    size_t last = first;
    for (; last < slots.size() && rows[last] < end; ++last) {
      chunk_rows.push_back(rows[last] - begin);
      uniforms.push_back(slots_[static_cast<size_t>(slots[last])].rng.uniform());
    }
    const std::vector<Draw> draws =
        draw_tokens(model_.logits(hidden.slice(0, begin, end)), chunk_rows, uniforms, sampling_);
    for (size_t i = first; i < last; ++i) accept(slots_[static_cast<size_t>(slots[i])], draws[i - first]);
    first = last;
  }
}

void DecodeRun::accept(Slot& slot, const Draw& draw) {
  Completion& completion = completions_[static_cast<size_t>(slot.request)][static_cast<size_t>(slot.sample)];
  if (draw.id < 0) {
    throw base::DataError(base::cat(
        "generate: the logits of token ", completion.ids.size() + 1, " of request ", slot.request + 1, ", sample ",
        slot.sample + 1, ", are not finite; the model's weights or scales are broken, check them with `rqat inspect`"));
  }
  completion.ids.push_back(draw.id);
  completion.log_probs.push_back(draw.log_prob);
  slot.token = draw.id;
  ++stats_.new_tokens;
  completion.finished = std::find(stop_ids_.begin(), stop_ids_.end(), draw.id) != stop_ids_.end();
  const auto prompt_length = static_cast<int64_t>(requests_[static_cast<size_t>(slot.request)].prompt.size());
  const bool cut = static_cast<int64_t>(completion.ids.size()) == room_for(prompt_length, sampling_, max_length_);
  if (!completion.finished && !cut) return;
  slot.running = false;
  ++done_;
  if (progress_) progress_(done_, total_);
}

}  // namespace rqat::generate
