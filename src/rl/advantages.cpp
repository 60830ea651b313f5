#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "rqat/rl/rollout.h"

namespace rqat::rl {

std::vector<double> group_advantages(const std::vector<double>& rewards, bool scale_by_std) {
  std::vector<double> advantages(rewards.size(), 0.0);
  const bool equal = std::adjacent_find(rewards.begin(), rewards.end(), std::not_equal_to<>()) == rewards.end();
  if (equal) return advantages;
  const auto count = static_cast<double>(rewards.size());
  const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / count;
  double squares = 0;
  for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
  const double divisor = scale_by_std ? std::sqrt(squares / count) + 1e-6 : 1.0;
  for (size_t i = 0; i < rewards.size(); ++i) advantages[i] = (rewards[i] - mean) / divisor;
  return advantages;
}

}  // namespace rqat::rl
