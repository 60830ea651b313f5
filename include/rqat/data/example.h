// One training sequence.
#pragma once

#include <cstdint>
#include <vector>

namespace rqat::data {

/// Token ids and, for each position, whether the model is to learn to PREDICT that token (response tokens and the end
/// of the turn: 1; prompt: 0). The first token is never predicted.
struct Example {
  std::vector<int64_t> ids;
  std::vector<uint8_t> loss_mask;
  int64_t num_targets() const {
    int64_t count = 0;
    for (size_t i = 1; i < loss_mask.size(); ++i) count += loss_mask[i];
    return count;
  }
};

}  // namespace rqat::data
