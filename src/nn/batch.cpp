#include "rqat/nn/batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::nn {
namespace {

// Below this a parent segment costs attention more than the matrix products save.
constexpr int64_t kSmallestSharedPrefix = 16;

[[noreturn]] void fail_empty(size_t document, size_t count) {
  throw base::DataError(base::cat("token batch: document ", document, " of ", count, " is empty"));
}

/// Collects segments.
class Layout {
 public:
  void add(const int64_t* begin, const int64_t* end, int64_t position, int64_t parent) {
    segments_.push_back({size(), size() + (end - begin), parent});
    ids_.insert(ids_.end(), begin, end);
    for (; begin != end; ++begin) positions_.push_back(position++);
  }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  TokenBatch finish() const { return {at::tensor(ids_, at::kLong), at::tensor(positions_, at::kLong), segments_}; }

 private:
  std::vector<int64_t> ids_, positions_;
  std::vector<Segment> segments_;
};

/// The first row that predicts a target; a document without targets keeps its last token as its own.
int64_t first_predicting_row(const MaskedDocument& document) {
  const auto size = static_cast<int64_t>(document.ids->size());
  for (int64_t i = 1; i < size; ++i) {
    if ((*document.mask)[static_cast<size_t>(i)] != 0) return i - 1;
  }
  return size - 1;
}

}  // namespace

TokenBatch TokenBatch::to(at::Device device) const { return {ids.to(device), positions.to(device), segments}; }

TargetBatch TargetBatch::to(at::Device device) const {
  return {tokens.to(device), rows.to(device), targets.to(device)};
}

TokenBatch make_token_batch(const std::vector<std::vector<int64_t>>& documents, int64_t first_position) {
  if (documents.empty()) throw base::DataError("token batch: expected at least one document, got none");
  Layout layout;
  for (size_t i = 0; i < documents.size(); ++i) {
    if (documents[i].empty()) fail_empty(i, documents.size());
    layout.add(documents[i].data(), documents[i].data() + documents[i].size(), first_position, -1);
  }
  return layout.finish();
}

int64_t shared_prefix(const std::vector<const std::vector<int64_t>*>& documents, int64_t limit) {
  if (documents.size() < 2) return 0;
  const std::vector<int64_t>& first = *documents.front();
  auto shared = std::clamp<int64_t>(limit, 0, static_cast<int64_t>(first.size()));
  for (const std::vector<int64_t>* document : documents) {
    const auto end = first.begin() + std::min<int64_t>(shared, static_cast<int64_t>(document->size()));
    shared = std::mismatch(first.begin(), end, document->begin()).first - first.begin();
  }
  return shared < kSmallestSharedPrefix ? 0 : shared;
}

TargetBatch make_target_batch(const std::vector<MaskedDocument>& documents) {
  if (documents.empty()) throw base::DataError("token batch: expected at least one document, got none");
  std::vector<const std::vector<int64_t>*> all;
  int64_t limit = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < documents.size(); ++i) {
    if (documents[i].ids->empty()) fail_empty(i, documents.size());
    all.push_back(documents[i].ids);
    limit = std::min(limit, first_predicting_row(documents[i]));
  }
  const int64_t shared = shared_prefix(all, limit);
  Layout layout;
  if (shared > 0) layout.add(all.front()->data(), all.front()->data() + shared, 0, -1);
  const int64_t parent = shared > 0 ? 0 : -1;
  std::vector<int64_t> rows, targets;
  for (const auto& [ids, mask] : documents) {
    const int64_t offset = layout.size() - shared;
    layout.add(ids->data() + shared, ids->data() + ids->size(), shared, parent);
    for (size_t i = 1; i < ids->size(); ++i) {
      if ((*mask)[i] == 0) continue;
      rows.push_back(offset + static_cast<int64_t>(i) - 1);
      targets.push_back((*ids)[i]);
    }
  }
  return {layout.finish(), at::tensor(rows, at::kLong), at::tensor(targets, at::kLong)};
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
    if (segment.parent < -1 || segment.parent >= static_cast<int64_t>(i)) {
      fail(base::cat("segment ", i, " has parent ", segment.parent, ", expected an earlier segment, or -1"));
    }
    covered = segment.end;
  }
  if (covered != batch.size()) fail(base::cat("segments cover ", covered, " of ", batch.size(), " tokens"));
}

}  // namespace rqat::nn
