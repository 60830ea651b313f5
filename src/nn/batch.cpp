#include "rqat/nn/batch.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::nn {

TokenBatch TokenBatch::to(at::Device device) const { return {ids.to(device), positions.to(device), segments}; }

TokenBatch make_token_batch(const std::vector<std::vector<int64_t>>& documents) {
  if (documents.empty()) throw base::DataError("token batch: expected at least one document, got none");
  TokenBatch batch;
  int64_t total = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto length = static_cast<int64_t>(documents[i].size());
    if (length == 0)
      throw base::DataError(base::cat("token batch: document ", i, " of ", documents.size(), " is empty"));
    batch.segments.push_back({total, total + length, -1});
    total += length;
  }
  batch.ids = at::empty({total}, at::kLong);
  batch.positions = at::empty({total}, at::kLong);
  auto* ids = batch.ids.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  for (const auto& document : documents) {
    for (size_t i = 0; i < document.size(); ++i) {
      *ids++ = document[i];
      *positions++ = static_cast<int64_t>(i);
    }
  }
  return batch;
}

void pad_token_batch(TokenBatch& batch, int64_t multiple) {
  const int64_t size = batch.size(), padding = (multiple - size % multiple) % multiple;
  if (padding == 0) return;
  batch.ids = at::cat({batch.ids, at::zeros({padding}, batch.ids.options())});
  batch.positions = at::cat({batch.positions, at::arange(padding, batch.positions.options())});
  batch.segments.push_back({size, size + padding, -1});
}

void check_token_batch(const TokenBatch& batch) {
  const auto fail = [](const std::string& text) { throw std::invalid_argument("token batch: " + text); };
  for (const at::Tensor* tensor : {&batch.ids, &batch.positions}) {
    if (!tensor->defined() || tensor->dim() != 1 || tensor->scalar_type() != at::kLong) {
      fail("expected ids and positions to be int64 [T]");
    }
  }
  if (batch.positions.size(0) != batch.size()) {
    fail(base::cat(batch.size(), " ids but ", batch.positions.size(0), " positions"));
  }
  int64_t covered = 0;
  for (size_t i = 0; i < batch.segments.size(); ++i) {
    const Segment& segment = batch.segments[i];
    if (segment.begin != covered || segment.end <= segment.begin) {
      fail(base::cat("segment ", i, " is ", segment.begin, "..", segment.end, ", expected a run that begins at ",
                     covered));
    }
    const bool parent_fits = segment.parent == -1 || (segment.parent >= 0 && segment.parent < static_cast<int64_t>(i) &&
                                                      batch.segments[static_cast<size_t>(segment.parent)].parent == -1);
    if (!parent_fits) {
      fail(base::cat("segment ", i, " has parent ", segment.parent,
                     ", expected an earlier segment without a parent, or -1"));
    }
    covered = segment.end;
  }
  if (covered != batch.size()) fail(base::cat("segments cover ", covered, " of ", batch.size(), " tokens"));
}

}  // namespace rqat::nn
