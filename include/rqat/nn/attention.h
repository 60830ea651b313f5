// Attention of new tokens to a KV cache and to each other. No gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rqat/nn/batch.h"
#include "rqat/nn/kv_cache.h"

namespace rqat::nn {

/// Writes k, v [T, J, E] of the segments behind their slots' present lengths and lets q [T, H, E] attend: token t of
/// segment i sees all of slots[i] before it and its own segment up to itself -> [T, H, E]. Slot lengths stay as they
/// are (they are advanced once per forward, not once per layer). New prompts and new tokens of running
/// sequences may be mixed; only long runs of tokens behind a long past are computed one segment at a time.
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<Segment>& segments, KvCache& cache, int64_t layer,
                            const std::vector<int64_t>& slots, const ops::AttentionOptions& options = {});

}  // namespace rqat::nn
