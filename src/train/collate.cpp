#include <ATen/ATen.h>

#include "rollout_batch.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

Collated collate(const std::vector<const data::Example*>& examples, at::Device device) {
  std::vector<std::vector<int64_t>> documents;
  std::vector<int64_t> rows, targets;
  int64_t offset = 0;
  for (const data::Example* example : examples) {
    documents.push_back(example->ids);
    for (size_t i = 1; i < example->ids.size(); ++i) {
      if (example->loss_mask[i] == 0) continue;
      rows.push_back(offset + static_cast<int64_t>(i) - 1);
      targets.push_back(example->ids[i]);
    }
    offset += static_cast<int64_t>(example->ids.size());
  }
  nn::TokenBatch tokens = nn::make_token_batch(documents);
  nn::pad_token_batch(tokens, kTokenMultiple);
  return {tokens.to(device), at::tensor(rows, at::kLong).to(device), at::tensor(targets, at::kLong).to(device)};
}

}  // namespace rqat::train
