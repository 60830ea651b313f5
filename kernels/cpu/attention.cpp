// Blocked attention on bf16 brgemm. Scores are held transposed, [keys][queries], so that the statistics of a query are
// lanes of a vector and both products with probabilities take them in the layout brgemm wants. A task is one segment
// and one key/value head; it writes only its own rows, and what it owes its ancestors goes to a buffer of its own that
// is added in the order of the segments afterwards.
#include <ATen/ATen.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cpu/dense.h"
#include "cpu/work.h"

namespace rqat::ops::cpu {
namespace {

namespace blas = at::native::cpublas;

constexpr int64_t kBlock = 64;  // keys of a block, and queries of a block
constexpr int64_t kStep = 16;

int64_t round_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

const at::BFloat16* as_bf16(const uint16_t* p) { return reinterpret_cast<const at::BFloat16*>(p); }

// The columns (queries) of a block lie kBlock apart in b and c.
void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, bool add, const uint16_t* a, const uint16_t* b,
              float* c) {
  blas::brgemm(m, n, k, lda, ldb, ldb, add, as_bf16(a), as_bf16(b), c, true);
}

struct Shape {
  int64_t heads, kv_heads, size;
  float scale, softcap;
  int64_t window;
  int64_t group() const { return heads / kv_heads; }
  int64_t q_stride() const { return heads * size; }
  int64_t kv_stride() const { return kv_heads * size; }
};

// Keys (or values) a segment sees with one head, rows padded with zeros to whole blocks.
class VisibleRows {
 public:
  void gather(const uint16_t* x, const Shape& shape, int64_t kv_head, const std::vector<Segment>& segments,
              const Segment& segment) {
    size_ = shape.size;
    rows_.clear();
    for (const Segment& run : ancestors(segments, segment)) append(x, shape, kv_head, run);
    append(x, shape, kv_head, segment);
    rows_.resize(round_up(static_cast<int64_t>(rows_.size()) / size_, kBlock) * size_);
  }
  const uint16_t* block(int64_t index) const { return rows_.data() + index * kBlock * size_; }
  int64_t blocks() const { return static_cast<int64_t>(rows_.size()) / (kBlock * size_); }

  /// Blocks [size][kBlock].
  void transpose(const PackKernels& pack, std::vector<uint16_t>& out) const {
    out.resize(rows_.size());
    for (int64_t b = 0; b < blocks(); ++b)
      pack.transpose({block(b), size_, kBlock, size_}, size_, kBlock, out.data() + b * kBlock * size_);
  }

 private:
  void append(const uint16_t* x, const Shape& shape, int64_t kv_head, const Segment& segment) {
    const uint16_t* row = x + segment.begin * shape.kv_stride() + kv_head * size_;
    for (int64_t t = segment.begin; t < segment.end; ++t, row += shape.kv_stride())
      rows_.insert(rows_.end(), row, row + size_);
  }

  int64_t size_ = 0;
  std::vector<uint16_t> rows_;
};

// Queries begin..begin+count of a segment, and which key blocks they see.
struct QueryBlock {
  int64_t first = 0;    ///< token
  int64_t count = 0;    ///< 1..kBlock
  int64_t columns = 0;  ///< count rounded up to kStep
  int64_t limit = 0;    ///< last key the first query sees

  int64_t visible() const { return limit + count; }
  int64_t blocks() const { return (visible() + kBlock - 1) / kBlock; }
  int64_t first_block(int64_t window) const {
    return window == 0 ? 0 : std::max<int64_t>(0, limit - window + 1) / kBlock;
  }
  ScoreBlock scores(int64_t block, const Shape& shape) const {
    ScoreBlock result;
    result.first_key = block * kBlock;
    result.keys = std::min(kBlock, round_up(visible() - result.first_key, kStep));
    result.columns = columns;
    result.first_limit = limit;
    result.window = shape.window;
    result.scale = shape.scale;
    result.softcap = shape.softcap;
    const bool hides_past = shape.window > 0 && result.first_key <= limit + columns - 1 - shape.window;
    result.masked = hides_past || result.first_key + result.keys - 1 > limit;
    return result;
  }
};

/// Tokens of all its ancestors.
int64_t prefix_length(const std::vector<Segment>& segments, const Segment& segment) {
  int64_t length = 0;
  for (const Segment& run : ancestors(segments, segment)) length += run.end - run.begin;
  return length;
}

template <class Body>
void for_query_blocks(const std::vector<Segment>& segments, const Segment& segment, const Body& body) {
  const int64_t prefix = prefix_length(segments, segment);
  for (int64_t first = segment.begin; first < segment.end; first += kBlock) {
    QueryBlock block;
    block.first = first;
    block.count = std::min(kBlock, segment.end - first);
    block.columns = round_up(block.count, kStep);
    block.limit = prefix + first - segment.begin;
    body(block);
  }
}

// (segment, head) pairs, the most work first: the last tasks to finish are then short ones.
std::vector<int64_t> ordered_segments(const std::vector<Segment>& segments) {
  std::vector<int64_t> order(segments.size());
  std::iota(order.begin(), order.end(), 0);
  const auto work = [&](int64_t i) {
    const int64_t length = segments[i].end - segments[i].begin;
    return length * (prefix_length(segments, segments[i]) + length / 2 + 1);
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return work(a) > work(b); });
  return order;
}

struct Forward {
  const DenseKernels& kernels;
  const Shape& shape;
  const uint16_t *q, *k, *v;
  const std::vector<Segment>& segments;
  uint16_t* out;
  float* logsumexp;
};

class ForwardTask {
 public:
  explicit ForwardTask(const Forward& job)
      : job_(job), queries_(job.shape.size * kBlock), mixed_(job.shape.size * kBlock), pairs_(kBlock * kBlock) {}

  void run(int64_t segment_index, int64_t kv_head) {
    const Segment& segment = job_.segments[segment_index];
    keys_.gather(job_.k, job_.shape, kv_head, job_.segments, segment);
    values_.gather(job_.v, job_.shape, kv_head, job_.segments, segment);
    values_.transpose(job_.kernels.pack, values_transposed_);
    scores_.resize(keys_.blocks() * kBlock * kBlock);
    for_query_blocks(job_.segments, segment, [&](const QueryBlock& block) {
      for (int64_t h = 0; h < job_.shape.group(); ++h) attend(block, kv_head * job_.shape.group() + h);
    });
  }

 private:
  void attend(const QueryBlock& block, int64_t head) {
    const int64_t size = job_.shape.size;
    const AttentionKernels& steps = job_.kernels.attention;
    const int64_t offset = block.first * job_.shape.q_stride() + head * size;
    job_.kernels.pack.pair_columns({job_.q + offset, job_.shape.q_stride(), block.count, size}, size / 2, kBlock,
                                   queries_.data());
    std::fill_n(row_max_, kBlock, -INFINITY);
    std::fill_n(row_sum_, kBlock, 0.0f);
    const int64_t first = block.first_block(job_.shape.window);
    for (int64_t b = first; b < block.blocks(); ++b) {
      const ScoreBlock part = block.scores(b, job_.shape);
      float* scores = scores_.data() + b * kBlock * kBlock;
      multiply(part.keys, block.columns, size, size, kBlock, false, keys_.block(b), queries_.data(), scores);
      steps.scale_and_mask(part, scores, row_max_);
    }
    for (int64_t b = first; b < block.blocks(); ++b) {
      const ScoreBlock part = block.scores(b, job_.shape);
      steps.exponentiate(part, scores_.data() + b * kBlock * kBlock, row_max_, row_sum_, pairs_.data());
      multiply(size, block.columns, part.keys, kBlock, kBlock, b > first, values_transposed_.data() + b * kBlock * size,
               pairs_.data(), mixed_.data());
    }
    for (int64_t i = 0; i < block.count; ++i)
      job_.logsumexp[(block.first + i) * job_.shape.heads + head] = row_max_[i] + std::log(row_sum_[i]);
    for (float& sum : row_sum_) sum = 1 / sum;
    steps.transpose_out(mixed_.data(), size, block.count, row_sum_, job_.out + offset, job_.shape.q_stride());
  }

  const Forward& job_;
  VisibleRows keys_, values_;
  std::vector<uint16_t> values_transposed_, queries_;
  std::vector<float> scores_, mixed_;
  std::vector<uint16_t> pairs_;
  float row_max_[kBlock], row_sum_[kBlock];
};

struct Backward {
  const DenseKernels& kernels;
  const Shape& shape;
  const uint16_t *dout, *q, *k, *v, *out;
  const float* logsumexp;
  const std::vector<Segment>& segments;
  uint16_t* dq;
  /// fp32 gradients of each segment's visible keys and values, one row after the other, per head:
  /// [kv_heads][visible rows padded to blocks][size] at offsets[segment].
  float *dk, *dv;
  const std::vector<int64_t>& offsets;
};

class BackwardTask {
 public:
  explicit BackwardTask(const Backward& job)
      : job_(job),
        scores_(kBlock * kBlock),
        dp_(kBlock * kBlock),
        dq_(job.shape.size * kBlock),
        p_(kBlock * kBlock),
        ds_(kBlock * kBlock),
        ds_pairs_(kBlock * kBlock) {
    for (std::vector<uint16_t>* buffer : {&q_columns_, &dout_columns_, &q_rows_, &dout_rows_})
      buffer->resize(job.shape.size * kBlock);
    std::fill_n(ones_, kBlock, 1.0f);
  }

  void run(int64_t segment_index, int64_t kv_head) {
    const Segment& segment = job_.segments[segment_index];
    keys_.gather(job_.k, job_.shape, kv_head, job_.segments, segment);
    values_.gather(job_.v, job_.shape, kv_head, job_.segments, segment);
    keys_.transpose(job_.kernels.pack, keys_transposed_);
    const int64_t count = keys_.blocks() * kBlock * job_.shape.size;
    float* dk = job_.dk + job_.offsets[segment_index] + kv_head * count;
    float* dv = job_.dv + job_.offsets[segment_index] + kv_head * count;
    std::fill_n(dk, count, 0.0f);
    std::fill_n(dv, count, 0.0f);
    for_query_blocks(job_.segments, segment, [&](const QueryBlock& block) {
      for (int64_t h = 0; h < job_.shape.group(); ++h) differentiate(block, kv_head * job_.shape.group() + h, dk, dv);
    });
  }

 private:
  void load_queries(const QueryBlock& block, int64_t head) {
    const int64_t size = job_.shape.size, stride = job_.shape.q_stride();
    const int64_t offset = block.first * stride + head * size;
    const PackKernels& pack = job_.kernels.pack;
    pack.pair_columns({job_.q + offset, stride, block.count, size}, size / 2, kBlock, q_columns_.data());
    pack.pair_columns({job_.dout + offset, stride, block.count, size}, size / 2, kBlock, dout_columns_.data());
    pack.pair_rows({job_.q + offset, stride, block.count, size}, block.columns / 2, size, q_rows_.data());
    pack.pair_rows({job_.dout + offset, stride, block.count, size}, block.columns / 2, size, dout_rows_.data());
    std::fill_n(lse_, kBlock, 0.0f);
    std::fill_n(delta_, kBlock, 0.0f);
    for (int64_t i = 0; i < block.count; ++i) {
      lse_[i] = job_.logsumexp[(block.first + i) * job_.shape.heads + head];
      delta_[i] = job_.kernels.attention.dot(job_.dout + offset + i * stride, job_.out + offset + i * stride, size);
    }
  }

  void differentiate(const QueryBlock& block, int64_t head, float* dk, float* dv) {
    const int64_t size = job_.shape.size;
    load_queries(block, head);
    const int64_t first = block.first_block(job_.shape.window);
    for (int64_t b = first; b < block.blocks(); ++b) {
      const ScoreBlock part = block.scores(b, job_.shape);
      multiply(part.keys, block.columns, size, size, kBlock, false, keys_.block(b), q_columns_.data(), scores_.data());
      multiply(part.keys, block.columns, size, size, kBlock, false, values_.block(b), dout_columns_.data(), dp_.data());
      job_.kernels.attention.backward_scores(part, scores_.data(), dp_.data(), lse_, delta_, p_.data(), ds_.data(),
                                             ds_pairs_.data());
      const int64_t row = b * kBlock * size;
      multiply(part.keys, size, block.columns, kBlock, size, true, p_.data(), dout_rows_.data(), dv + row);
      multiply(part.keys, size, block.columns, kBlock, size, true, ds_.data(), q_rows_.data(), dk + row);
      multiply(size, block.columns, part.keys, kBlock, kBlock, b > first, keys_transposed_.data() + row,
               ds_pairs_.data(), dq_.data());
    }
    job_.kernels.attention.transpose_out(dq_.data(), size, block.count, ones_,
                                         job_.dq + block.first * job_.shape.q_stride() + head * size,
                                         job_.shape.q_stride());
  }

  const Backward& job_;
  VisibleRows keys_, values_;
  std::vector<uint16_t> keys_transposed_, q_columns_, dout_columns_, q_rows_, dout_rows_;
  std::vector<float> scores_, dp_, dq_;
  std::vector<uint16_t> p_, ds_, ds_pairs_;
  float lse_[kBlock], delta_[kBlock], ones_[kBlock];
};

template <class Task, class Job>
void run_tasks(const Job& job) {
  const std::vector<int64_t> order = ordered_segments(job.segments);
  const int64_t kv_heads = job.shape.kv_heads;
  share_tasks(static_cast<int64_t>(order.size()) * kv_heads, [&](const auto& next) {
    Task task(job);
    for (int64_t i = next(); i >= 0; i = next()) {
      const Segment& segment = job.segments[order[i / kv_heads]];
      if (segment.begin < segment.end) task.run(order[i / kv_heads], i % kv_heads);
    }
    blas::brgemm_release(true);
  });
}

int64_t padded_visible(const std::vector<Segment>& segments, const Segment& segment) {
  return round_up(prefix_length(segments, segment) + segment.end - segment.begin, kBlock);
}

// A segment's own rows of its buffer, plus the same rows of its descendants' buffers in their order, rounded.
void gather_gradient(const Backward& job, const float* buffer, int64_t index, int64_t kv_head,
                     const std::vector<int64_t>& descendants, uint16_t* gradient) {
  const Segment& segment = job.segments[index];
  const int64_t size = job.shape.size, length = segment.end - segment.begin;
  // What a segment sees lies in the same order in its descendants' buffers.
  const int64_t first = prefix_length(job.segments, segment) * size;
  const auto rows_in = [&](int64_t i) {
    return buffer + job.offsets[i] + kv_head * padded_visible(job.segments, job.segments[i]) * size + first;
  };
  const float* own = rows_in(index);
  std::vector<float> sum(own, own + length * size);
  for (const int64_t descendant : descendants) {
    const float* part = rows_in(descendant);
    for (int64_t i = 0; i < length * size; ++i) sum[i] += part[i];
  }
  for (int64_t t = 0; t < length; ++t) {
    uint16_t* row = gradient + (segment.begin + t) * job.shape.kv_stride() + kv_head * size;
    job.kernels.pack.round_row(sum.data() + t * size, size, row);
  }
}

Shape shape_of(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options) {
  return {q.size(1),     k.size(1), q.size(2), static_cast<float>(options.scale), static_cast<float>(options.softcap),
          options.window};
}

}  // namespace

std::pair<at::Tensor, at::Tensor> segment_attention(const DenseKernels& kernels, const at::Tensor& q,
                                                    const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options) {
  const Shape shape = shape_of(q, k, options);
  at::Tensor out = at::zeros_like(q), logsumexp = at::zeros({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
  const Forward job{kernels,
                    shape,
                    elements<uint16_t>(q),
                    elements<uint16_t>(k),
                    elements<uint16_t>(v),
                    segments,
                    mutable_elements<uint16_t>(out),
                    mutable_elements<float>(logsumexp)};
  run_tasks<ForwardTask>(job);
  return {out, logsumexp};
}

AttentionGradients segment_attention_backward(const DenseKernels& kernels, const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                              const at::Tensor& logsumexp, const std::vector<Segment>& segments,
                                              const AttentionOptions& options) {
  const Shape shape = shape_of(q, k, options);
  AttentionGradients gradients{at::zeros_like(q), at::zeros_like(k), at::zeros_like(v)};
  std::vector<int64_t> offsets;
  std::vector<std::vector<int64_t>> descendants(segments.size());
  int64_t total = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    offsets.push_back(total);
    if (segments[i].begin == segments[i].end) continue;
    total += padded_visible(segments, segments[i]) * shape.kv_stride();
    for (int64_t above = segments[i].parent; above >= 0; above = segments[above].parent)
      descendants[above].push_back(static_cast<int64_t>(i));
  }
  at::Tensor buffers = at::empty({2, total}, q.options().dtype(at::kFloat));
  float* dk = mutable_elements<float>(buffers);
  const Backward job{kernels,
                     shape,
                     elements<uint16_t>(dout),
                     elements<uint16_t>(q),
                     elements<uint16_t>(k),
                     elements<uint16_t>(v),
                     elements<uint16_t>(out),
                     elements<float>(logsumexp),
                     segments,
                     mutable_elements<uint16_t>(gradients.q),
                     dk,
                     dk + total,
                     offsets};
  run_tasks<BackwardTask>(job);
  uint16_t *k_gradient = mutable_elements<uint16_t>(gradients.k), *v_gradient = mutable_elements<uint16_t>(gradients.v);
  at::parallel_for(0, static_cast<int64_t>(segments.size()) * shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t index = task / shape.kv_heads, kv_head = task % shape.kv_heads;
      if (segments[index].begin == segments[index].end) continue;
      gather_gradient(job, job.dk, index, kv_head, descendants[index], k_gradient);
      gather_gradient(job, job.dv, index, kv_head, descendants[index], v_gradient);
    }
  });
  return gradients;
}

}  // namespace rqat::ops::cpu
