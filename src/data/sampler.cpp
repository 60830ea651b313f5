#include <algorithm>
#include <numeric>

#include "rqat/base/error.h"
#include "rqat/base/rng.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

Sampler::Sampler(int64_t size, uint64_t seed, bool shuffle) : size_(size), seed_(seed), shuffle_(shuffle) {
  if (size <= 0) throw base::DataError("the data set is empty");
}

void Sampler::shuffle_epoch(int64_t epoch) {
  order_.resize(static_cast<size_t>(size_));
  std::iota(order_.begin(), order_.end(), 0);
  if (shuffle_) base::Rng(seed_, "sampler", static_cast<uint64_t>(epoch)).shuffle(order_);
  epoch_ = epoch;
}

int64_t Sampler::next() {
  const int64_t epoch = cursor_ / size_;
  if (epoch != epoch_) shuffle_epoch(epoch);
  return order_[static_cast<size_t>(cursor_++ % size_)];
}

void Sampler::set_cursor(int64_t cursor) { cursor_ = cursor; }

namespace {

using Batches = std::vector<std::vector<int64_t>>;

Batches packed_in_order(const std::vector<int64_t>& lengths, int64_t max_tokens) {
  Batches batches;
  int64_t tokens = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (batches.empty() || (max_tokens > 0 && !batches.back().empty() && tokens + lengths[i] > max_tokens)) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(static_cast<int64_t>(i));
    tokens += lengths[i];
  }
  return batches;
}

/// The longest first, each into the first batch that has room.
Batches packed_by_length(const std::vector<int64_t>& lengths, int64_t max_tokens) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int64_t i) { return lengths[static_cast<size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  Batches batches;
  std::vector<int64_t> tokens;
  for (const int64_t i : order) {
    size_t place = 0;
    while (place < batches.size() && tokens[place] + length(i) > max_tokens) ++place;
    if (place == batches.size()) {
      batches.emplace_back();
      tokens.push_back(0);
    }
    batches[place].push_back(i);
    tokens[place] += length(i);
  }
  for (std::vector<int64_t>& batch : batches) std::sort(batch.begin(), batch.end());
  std::sort(batches.begin(), batches.end());
  return batches;
}

}  // namespace

Batches pack_micro_batches(const std::vector<int64_t>& lengths, int64_t max_tokens) {
  Batches in_order = packed_in_order(lengths, max_tokens);
  if (max_tokens <= 0) return in_order;
  Batches by_length = packed_by_length(lengths, max_tokens);
  return by_length.size() < in_order.size() ? by_length : in_order;
}

}  // namespace rqat::data
