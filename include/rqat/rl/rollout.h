// Rewards, advantages and rollouts of group-relative policy optimisation (GRPO, 2402.03300).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/data/dataset.h"
#include "rqat/generate/engine.h"

namespace rqat::rl {

/// Scores a response. Registry kind "rewards": correctness (1 when the answer is right), format (adds a share when the
/// answer marker is there).
class Reward {
 public:
  virtual ~Reward() = default;
  virtual double score(const data::Record& record, const std::string& response, bool finished) const = 0;
};
const base::Registry<Reward>& rewards();

/// A = r - mean, divided by (std + 1e-6) when `scale_by_std` (GRPO; off: Dr. GRPO 2503.20783). std with ddof 0. All of
/// one group; a group whose rewards are equal gets zeros.
std::vector<double> group_advantages(const std::vector<double>& rewards, bool scale_by_std);

/// One sampled answer.
struct Rollout {
  std::vector<int64_t> prompt;  ///< shared by the group
  generate::Completion completion;
  std::string response;
  double reward = 0, advantage = 0;
  int64_t group = 0;
};

struct RolloutBatch {
  std::vector<Rollout> rollouts;  ///< group by group
  /// reward (mean), reward_std (mean of the groups' standard deviations, ddof 0), zero_std_groups and
  /// nonzero_advantage_groups (shares of the groups), mean_length (tokens), cut_share, seconds and tokens_per_second
  /// (of generation, new tokens only).
  std::map<std::string, double> metrics;
};

/// Samples `num_generations` answers to each record's prompt, scores them and sets advantages. Throws DataError when
/// there are no records, and what Engine::generate throws.
RolloutBatch collect(generate::Engine& engine, const std::vector<data::Record>& records, const data::DataConfig& data,
                     const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, const Reward& reward,
                     int64_t num_generations, const generate::SamplingConfig& sampling, bool scale_by_std,
                     uint64_t seed);

}  // namespace rqat::rl
