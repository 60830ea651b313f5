// Draws tokens from logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rqat/generate/engine.h"

namespace rqat::generate {

struct Draw {
  int64_t id = -1;     ///< -1: the row held NaN or +Inf
  float log_prob = 0;  ///< under softmax(logits / temperature) of all tokens; temperature 1 when greedy
};

/// Draw i comes from row rows[i] of logits fp32 [R, V] (scratch: overwritten), with uniforms[i] in [0, 1). Greedy takes
/// the largest logit, of equal ones the lowest id. Else top-k keeps the k most probable tokens, then top-p the shortest
/// run of the most probable of them that holds at least top_p of their mass (1904.09751); of equally probable ones
/// lower ids come first. A draw depends on its row, its uniform and `sampling` alone.
std::vector<Draw> draw_tokens(at::Tensor logits, const std::vector<int64_t>& rows, const std::vector<double>& uniforms,
                              const SamplingConfig& sampling);

}  // namespace rqat::generate
