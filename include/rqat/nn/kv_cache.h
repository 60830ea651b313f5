// Keys and values of past tokens, one slot per running sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "rqat/nn/batch.h"

namespace rqat::nn {

class KvCache {
 public:
  /// Allocates [slots, kv_heads, capacity, head_dim] per layer for keys and for values.
  KvCache(int64_t layers, int64_t slots, int64_t capacity, int64_t kv_heads, int64_t head_dim, at::ScalarType dtype,
          at::Device device);

  int64_t slots() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t capacity() const { return capacity_; }
  int64_t length(int64_t slot) const { return lengths_[static_cast<size_t>(slot)]; }
  void set_length(int64_t slot, int64_t length) { lengths_[static_cast<size_t>(slot)] = length; }
  at::Tensor& keys(int64_t layer) { return keys_[static_cast<size_t>(layer)]; }
  at::Tensor& values(int64_t layer) { return values_[static_cast<size_t>(layer)]; }

  /// Writes k, v [n, kv_heads, head_dim] of one layer behind the present length of `slot` (length itself is advanced
  /// once per forward, by set_length). Throws DataError when the slot is full.
  void write(int64_t layer, int64_t slot, const at::Tensor& k, const at::Tensor& v);
  /// The same for several slots at once: tokens segments[i].begin..end of k, v [T, kv_heads, head_dim] go to slots[i].
  void write(int64_t layer, const std::vector<int64_t>& slots, const std::vector<Segment>& segments,
             const at::Tensor& k, const at::Tensor& v);
  /// Copies the first `length` positions of all layers from one slot to another and sets its length.
  void copy_slot(int64_t from, int64_t to);
  int64_t bytes() const;

 private:
  void check_room(int64_t slot, int64_t tokens) const;
  /// Slot and position, int64 [T] each, that every token of the segments goes to.
  std::pair<at::Tensor, at::Tensor> token_places(const std::vector<int64_t>& slots,
                                                 const std::vector<Segment>& segments) const;

  int64_t capacity_;
  std::vector<at::Tensor> keys_, values_;
  std::vector<int64_t> lengths_;
};

}  // namespace rqat::nn
