#include "decode_run.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::generate {

namespace {

constexpr int64_t kPrefillTokens = 2048;            // of all prompts of one forward, unless a single one is longer
constexpr int64_t kLogitBytes = int64_t{32} << 20;  // of the fp32 logits held at once

}  // namespace

DecodeRun::DecodeRun(model::CausalLM& model, const std::vector<int64_t>& stop_ids, const std::vector<Request>& requests,
                     const SamplingConfig& sampling, uint64_t seed, int64_t slots, int64_t capacity,
                     const Progress& progress)
    : model_(model),
      stop_ids_(stop_ids),
      requests_(requests),
      sampling_(sampling),
      seed_(seed),
      progress_(progress),
      cache_(model.make_cache(slots, capacity)),
      slots_(static_cast<size_t>(slots)),
      started_(requests.size(), 0),
      prompt_hidden_(requests.size()) {
  for (const Request& request : requests) {
    completions_.emplace_back(static_cast<size_t>(request.num_samples));
    total_ += request.num_samples;
  }
}

std::vector<std::vector<Completion>> DecodeRun::run() {
  while (done_ < total_) {
    while (admit()) {
    }
    decode();
  }
  return std::move(completions_);
}

bool DecodeRun::admit() {
  std::vector<int64_t> starts, prefills;
  std::vector<Copy> copies;
  int64_t tokens = 0;
  while (open_ < requests_.size()) {
    const auto request = static_cast<int64_t>(open_);
    const auto prompt_size = static_cast<int64_t>(requests_[open_].prompt.size());
    int64_t slot = free_slot_with_prompt(request);
    if (slot < 0) {
      slot = any_free_slot();
      if (slot < 0) break;
      const int64_t source = running_slot_with_prompt(request);
      if (source < 0 && !prefills.empty() && tokens + prompt_size > kPrefillTokens) break;
      if (source < 0) {
        prefills.push_back(slot);
        tokens += prompt_size;
      } else {
        copies.push_back({source, slot});
      }
    }
    start(slot, request);
    starts.push_back(slot);
  }
  if (starts.empty()) return false;

  if (!prefills.empty()) prefill(prefills);
  for (const Copy& copy : copies) copy_prompt(copy);
  std::vector<at::Tensor> hidden;
  std::vector<int64_t> rows;
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t request = slots_[static_cast<size_t>(starts[i])].request;
    cache_->set_length(starts[i], static_cast<int64_t>(requests_[static_cast<size_t>(request)].prompt.size()));
    const bool same_group = i > 0 && slots_[static_cast<size_t>(starts[i - 1])].request == request;
    if (!same_group) hidden.push_back(prompt_hidden_[static_cast<size_t>(request)]);
    rows.push_back(static_cast<int64_t>(hidden.size()) - 1);
  }
  for (size_t request = 0; request < open_; ++request) prompt_hidden_[request].reset();
  draw(at::stack(hidden), starts, rows);
  return true;
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

void DecodeRun::prefill(const std::vector<int64_t>& slots) {
  std::vector<std::vector<int64_t>> prompts;
  std::vector<int64_t> last;
  for (const int64_t slot : slots) {
    prompts.push_back(requests_[static_cast<size_t>(slots_[static_cast<size_t>(slot)].request)].prompt);
    last.push_back((last.empty() ? -1 : last.back()) + static_cast<int64_t>(prompts.back().size()));
    cache_->set_length(slot, 0);
  }
  const at::Tensor hidden = model_.hidden(nn::make_token_batch(prompts).to(model_.device()), *cache_, slots);
  const at::Tensor last_hidden = hidden.index_select(0, at::tensor(last, at::kLong).to(hidden.device()));
  for (size_t i = 0; i < slots.size(); ++i) {
    prompt_hidden_[static_cast<size_t>(slots_[static_cast<size_t>(slots[i])].request)] =
        last_hidden[static_cast<int64_t>(i)];
  }
  stats_.prompt_tokens += last.back() + 1;
}

void DecodeRun::copy_prompt(const Copy& copy) {
  const int64_t length = cache_->length(copy.from);
  const int64_t request = slots_[static_cast<size_t>(copy.to)].request;
  cache_->set_length(copy.from, static_cast<int64_t>(requests_[static_cast<size_t>(request)].prompt.size()));
  cache_->copy_slot(copy.from, copy.to);
  cache_->set_length(copy.from, length);
}

void DecodeRun::decode() {
  std::vector<int64_t> slots, ids, positions, rows;
  nn::TokenBatch batch;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].running) continue;
    const auto row = static_cast<int64_t>(slots.size());
    slots.push_back(static_cast<int64_t>(i));
    ids.push_back(slots_[i].token);
    positions.push_back(cache_->length(slots.back()));
    rows.push_back(row);
    batch.segments.push_back({row, row + 1, -1});
  }
  if (slots.empty()) return;
  batch.ids = at::tensor(ids, at::kLong);
  batch.positions = at::tensor(positions, at::kLong);
  draw(model_.hidden(batch.to(model_.device()), *cache_, slots), slots, rows);
  ++stats_.steps;
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
  const bool cut = static_cast<int64_t>(completion.ids.size()) == sampling_.max_new_tokens;
  if (!completion.finished && !cut) return;
  slot.running = false;
  ++done_;
  if (progress_) progress_(done_, total_);
}

}  // namespace rqat::generate
