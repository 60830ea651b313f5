#include "rqat/nn/kv_cache.h"

#include <ATen/ATen.h>

#include <cstring>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::nn {
namespace {

/// Copies tokens first..last of k [T, J, E] to positions from `position` of one slot [J, capacity, E], as bytes.
void copy_tokens(const at::Tensor& cache, int64_t slot, int64_t position, const at::Tensor& k, int64_t first,
                 int64_t last) {
  const int64_t heads = cache.size(1), capacity = cache.size(2);
  const int64_t row = cache.size(3) * static_cast<int64_t>(cache.element_size());
  auto* to = static_cast<char*>(cache.mutable_data_ptr()) + slot * heads * capacity * row;
  const auto* from = static_cast<const char*>(k.const_data_ptr());
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t token = first; token < last; ++token) {
      std::memcpy(to + (head * capacity + position + token - first) * row, from + (token * heads + head) * row,
                  static_cast<size_t>(row));
    }
  }
}

}  // namespace

std::pair<at::Tensor, at::Tensor> KvCache::token_places(const std::vector<int64_t>& slots,
                                                        const std::vector<Segment>& segments) const {
  std::vector<int64_t> slot_T, position_T;
  for (size_t i = 0; i < slots.size(); ++i) {
    for (int64_t offset = 0; offset < segments[i].end - segments[i].begin; ++offset) {
      slot_T.push_back(slots[i]);
      position_T.push_back(length(slots[i]) + offset);
    }
  }
  return {at::tensor(slot_T, at::kLong), at::tensor(position_T, at::kLong)};
}

KvCache::KvCache(int64_t layers, int64_t slots, int64_t capacity, int64_t kv_heads, int64_t head_dim,
                 at::ScalarType dtype, at::Device device)
    : capacity_(capacity), lengths_(static_cast<size_t>(slots), 0) {
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  for (int64_t layer = 0; layer < layers; ++layer) {
    keys_.push_back(at::empty({slots, kv_heads, capacity, head_dim}, options));
    values_.push_back(at::empty({slots, kv_heads, capacity, head_dim}, options));
  }
}

void KvCache::check_room(int64_t slot, int64_t tokens) const {
  if (slot < 0 || slot >= slots()) {
    throw base::DataError(base::cat("KV cache: slot ", slot, " is outside 0..", slots() - 1));
  }
  if (length(slot) + tokens > capacity_) {
    throw base::DataError(base::cat("KV cache: slot ", slot, " holds ", length(slot), " of ", capacity_,
                                    " tokens, no room for ", tokens, " more; raise the maximum length"));
  }
}

void KvCache::write(int64_t layer, int64_t slot, const at::Tensor& k, const at::Tensor& v) {
  write(layer, {slot}, {Segment{0, k.size(0), -1}}, k, v);
}

void KvCache::write(int64_t layer, const std::vector<int64_t>& slots, const std::vector<Segment>& segments,
                    const at::Tensor& k, const at::Tensor& v) {
  for (size_t i = 0; i < slots.size(); ++i) check_room(slots[i], segments[i].end - segments[i].begin);
  if (!keys(layer).device().is_cpu()) {
    const auto [slot_T, position_T] = token_places(slots, segments);
    for (auto [cache, fresh] : {std::pair{keys(layer), k}, std::pair{values(layer), v}}) {
      const c10::List<std::optional<at::Tensor>> places({slot_T.to(cache.device()), position_T.to(cache.device())});
      cache.transpose(1, 2).index_put_(places, fresh.to(cache.scalar_type()));
    }
    return;
  }
  for (auto [cache, fresh] : {std::pair{keys(layer), k.to(keys(layer).scalar_type()).contiguous()},
                              std::pair{values(layer), v.to(values(layer).scalar_type()).contiguous()}}) {
    for (size_t i = 0; i < slots.size(); ++i) {
      copy_tokens(cache, slots[i], length(slots[i]), fresh, segments[i].begin, segments[i].end);
    }
  }
}

void KvCache::copy_slot(int64_t from, int64_t to) {
  check_room(from, 0);
  check_room(to, 0);
  const int64_t tokens = length(from);
  set_length(to, 0);
  check_room(to, tokens);
  for (auto* tensors : {&keys_, &values_}) {
    for (at::Tensor& cache : *tensors)
      cache.select(0, to).narrow(1, 0, tokens).copy_(cache.select(0, from).narrow(1, 0, tokens));
  }
  set_length(to, tokens);
}

int64_t KvCache::bytes() const {
  int64_t bytes = 0;
  for (const auto* tensors : {&keys_, &values_}) {
    for (const at::Tensor& cache : *tensors) bytes += static_cast<int64_t>(cache.nbytes());
  }
  return bytes;
}

}  // namespace rqat::nn
