#include "rollout_batch.h"

#include <algorithm>
#include <limits>

namespace rqat::train {

namespace {

int64_t tokens_of(const RolloutGroup& group) {
  int64_t tokens = static_cast<int64_t>(group.rollouts.front()->prompt.size());
  for (const rl::Rollout* rollout : group.rollouts) tokens += static_cast<int64_t>(rollout->completion.ids.size());
  return tokens;
}

/// Groups of more than `max_tokens` are cut into several with the same prompt, as far as an answer is not longer
/// itself.
std::vector<RolloutGroup> cut_to(const std::vector<RolloutGroup>& groups, int64_t max_tokens) {
  std::vector<RolloutGroup> pieces;
  for (const RolloutGroup& group : groups) {
    pieces.emplace_back();
    for (const rl::Rollout* rollout : group.rollouts) {
      pieces.back().rollouts.push_back(rollout);
      if (pieces.back().rollouts.size() == 1 || tokens_of(pieces.back()) <= max_tokens) continue;
      pieces.back().rollouts.pop_back();
      pieces.push_back({{rollout}});
    }
  }
  return pieces;
}

/// How many tokens all prompts begin with; the last of a prompt is never among them (see Builder::add).
int64_t shared_by_prompts(const std::vector<RolloutGroup>& groups) {
  std::vector<const std::vector<int64_t>*> prompts;
  size_t shortest = std::numeric_limits<int64_t>::max();
  for (const RolloutGroup& group : groups) {
    prompts.push_back(&group.rollouts.front()->prompt);
    shortest = std::min(shortest, prompts.back()->size());
  }
  return nn::shared_prefix(prompts, static_cast<int64_t>(shortest) - 1);
}

/// Collects the flat arrays of a micro-batch.
class Builder {
 public:
  /// All prompts of the micro-batch begin with the same `shared` tokens; these are laid out once.
  explicit Builder(int64_t shared) : shared_(shared) {}

  /// Prompt without its last token, which starts each answer: its row predicts the answer's first token, and rows of
  /// one answer then follow each other.
  void add(const RolloutGroup& group) {
    const std::vector<int64_t>& prompt = group.rollouts.front()->prompt;
    if (shared_ > 0 && segments_.empty()) add_tokens(prompt.begin(), prompt.begin() + shared_, 0, -1);
    int64_t parent = shared_ > 0 ? 0 : -1;
    const int64_t before_answers = static_cast<int64_t>(prompt.size()) - 1;
    if (before_answers > shared_) {
      add_tokens(prompt.begin() + shared_, prompt.end() - 1, shared_, parent);
      parent = static_cast<int64_t>(segments_.size()) - 1;
    }
    for (const rl::Rollout* rollout : group.rollouts) add_answer(*rollout, prompt.back(), before_answers, parent);
  }

  PolicyMicroBatch finish() const {
    PolicyMicroBatch batch;
    batch.tokens.ids = at::tensor(ids_, at::kLong);
    batch.tokens.positions = at::tensor(positions_, at::kLong);
    batch.tokens.segments = segments_;
    nn::pad_token_batch(batch.tokens, kTokenMultiple);
    batch.rows = at::tensor(rows_, at::kLong);
    batch.targets = at::tensor(targets_, at::kLong);
    batch.sequence = at::tensor(sequence_, at::kLong);
    batch.advantage = at::tensor(advantage_, at::kFloat);
    batch.rollout_log_prob = at::tensor(rollout_log_prob_, at::kFloat);
    return batch;
  }

  int64_t num_rows() const { return static_cast<int64_t>(rows_.size()); }

 private:
  template <class Iterator>
  void add_tokens(Iterator begin, Iterator end, int64_t position, int64_t parent) {
    nn::Segment segment;
    segment.begin = static_cast<int64_t>(ids_.size());
    segment.parent = parent;
    for (; begin != end; ++begin) {
      ids_.push_back(*begin);
      positions_.push_back(position++);
    }
    segment.end = static_cast<int64_t>(ids_.size());
    segments_.push_back(segment);
  }

  void add_answer(const rl::Rollout& rollout, int64_t last_prompt_token, int64_t position, int64_t parent) {
    const std::vector<int64_t>& answer = rollout.completion.ids;
    if (answer.empty()) return;
    std::vector<int64_t> tokens{last_prompt_token};
    tokens.insert(tokens.end(), answer.begin(), answer.end() - 1);
    const int64_t begin = static_cast<int64_t>(ids_.size());
    add_tokens(tokens.begin(), tokens.end(), position, parent);
    for (size_t i = 0; i < answer.size(); ++i) {
      rows_.push_back(begin + static_cast<int64_t>(i));
      targets_.push_back(answer[i]);
      sequence_.push_back(num_sequences_);
      advantage_.push_back(rollout.advantage);
      rollout_log_prob_.push_back(rollout.completion.log_probs[i]);
    }
    ++num_sequences_;
  }

  int64_t shared_;
  std::vector<int64_t> ids_, positions_, rows_, targets_, sequence_;
  std::vector<double> advantage_, rollout_log_prob_;
  std::vector<nn::Segment> segments_;
  int64_t num_sequences_ = 0;
};

void close(Builder& builder, PolicyBatch& batch) {
  if (builder.num_rows() > 0) batch.micro_batches.push_back(builder.finish());
}

PolicyBatch make_policy_batch(const std::vector<RolloutGroup>& whole_groups, int64_t max_tokens,
                              const dist::Communicator& world) {
  const std::vector<RolloutGroup> groups = cut_to(whole_groups, max_tokens);
  PolicyBatch batch;
  std::vector<int64_t> sizes;
  for (const RolloutGroup& group : groups) {
    sizes.push_back(tokens_of(group));
    for (const rl::Rollout* rollout : group.rollouts) {
      batch.num_rows += static_cast<int64_t>(rollout->completion.ids.size());
      batch.num_sequences += rollout->completion.ids.empty() ? 0 : 1;
    }
  }
  const auto [begin, end] = world.share_by_weight(sizes);
  const int64_t shared = shared_by_prompts(groups);
  Builder builder(shared);
  int64_t tokens = 0;
  for (auto index = static_cast<size_t>(begin); index < static_cast<size_t>(end); ++index) {
    if (tokens > 0 && tokens + sizes[index] > max_tokens) {
      close(builder, batch);
      builder = Builder(shared);
      tokens = 0;
    }
    builder.add(groups[index]);
    tokens += sizes[index];
  }
  close(builder, batch);
  return batch;
}

}  // namespace

std::vector<RolloutGroup> groups_of(const rl::RolloutBatch& batch) {
  std::vector<RolloutGroup> groups;
  int64_t open = -1;
  for (const rl::Rollout& rollout : batch.rollouts) {
    if (rollout.group != open) {
      groups.emplace_back();
      open = rollout.group;
    }
    groups.back().rollouts.push_back(&rollout);
  }
  return groups;
}

void keep_informative(std::vector<RolloutGroup>& groups) {
  std::erase_if(groups, [](const RolloutGroup& group) {
    return std::all_of(group.rollouts.begin(), group.rollouts.end(),
                       [](const rl::Rollout* r) { return r->advantage == 0; });
  });
}

void PolicyMicroBatch::move_to(at::Device device) {
  tokens = tokens.to(device);
  for (at::Tensor* tensor : {&rows, &targets, &sequence, &advantage, &rollout_log_prob}) *tensor = tensor->to(device);
}

std::vector<PolicyBatch> make_policy_batches(const std::vector<RolloutGroup>& groups, int64_t mini_batches,
                                             int64_t max_tokens, const dist::Communicator& world) {
  const int64_t count = std::min<int64_t>(mini_batches, static_cast<int64_t>(groups.size()));
  std::vector<PolicyBatch> batches;
  for (int64_t i = 0; i < count; ++i) {
    const size_t begin = groups.size() * static_cast<size_t>(i) / static_cast<size_t>(count);
    const size_t end = groups.size() * static_cast<size_t>(i + 1) / static_cast<size_t>(count);
    batches.push_back(make_policy_batch(
        {groups.begin() + static_cast<std::ptrdiff_t>(begin), groups.begin() + static_cast<std::ptrdiff_t>(end)},
        max_tokens, world));
  }
  return batches;
}

}  // namespace rqat::train
