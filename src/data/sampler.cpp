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

std::vector<std::vector<int64_t>> pack_micro_batches(const std::vector<int64_t>& lengths, int64_t max_tokens) {
  std::vector<std::vector<int64_t>> batches;
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

}  // namespace rqat::data
