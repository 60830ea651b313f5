#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "cpu/dense.h"
#include "cpu/work.h"

namespace rqat::ops::cpu {
namespace {

template <class T>
const PointwiseKernels<T>& kernels_of(const DenseKernels& kernels) {
  if constexpr (std::is_same_v<T, float>) {
    return kernels.fp32;
  } else {
    return kernels.bf16;
  }
}

// Enough elements for a thread to be worth waking.
int64_t rows_per_task(int64_t row_size) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row_size)); }

constexpr int64_t kPiece = 8192;

}  // namespace

std::pair<at::Tensor, at::Tensor> rms_norm(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
                                           double eps, const NormStyle& style) {
  const int64_t size = x.size(-1), rows = size == 0 ? 0 : x.numel() / size;
  at::Tensor y = at::empty_like(x), rstd = at::empty({rows}, x.options().dtype(at::kFloat));
  with_elements(x, [&](auto element) {
    using T = decltype(element);
    const PointwiseKernels<T>& rows_of = kernels_of<T>(kernels);
    const T *in = elements<T>(x), *w = elements<T>(weight);
    T* out = mutable_elements<T>(y);
    float* scale = mutable_elements<float>(rstd);
    at::parallel_for(0, rows, rows_per_task(size), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        scale[r] = rows_of.rms_norm(in + r * size, w, static_cast<float>(eps), style, size, out + r * size);
    });
  });
  return {y, rstd};
}

at::Tensor rms_norm_backward(const DenseKernels& kernels, const at::Tensor& dy, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& rstd, at::Tensor& weight_grad,
                             const NormStyle& style) {
  // The weight's gradient is summed over blocks of 128 rows, then over blocks: the same for any number of threads.
  constexpr int64_t kBlock = 128;
  const int64_t size = x.size(-1), rows = rstd.numel(), blocks = (rows + kBlock - 1) / kBlock;
  at::Tensor dx = at::empty_like(x);
  at::Tensor partial;
  if (weight_grad.defined()) partial = at::zeros({blocks, size}, weight_grad.options());
  with_elements(x, [&](auto element) {
    using T = decltype(element);
    const PointwiseKernels<T>& rows_of = kernels_of<T>(kernels);
    const T *in = elements<T>(x), *w = elements<T>(weight), *d = elements<T>(dy);
    const auto* scale = elements<float>(rstd);
    T* out = mutable_elements<T>(dx);
    float* sums = partial.defined() ? mutable_elements<float>(partial) : nullptr;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin * kBlock; r < std::min(rows, end * kBlock); ++r) {
        rows_of.rms_norm_backward(d + r * size, in + r * size, w, scale[r], style, size, out + r * size,
                                  sums == nullptr ? nullptr : sums + r / kBlock * size);
      }
    });
  });
  // A loop, since how ATen's sum divides its work depends on the threads.
  for (int64_t block = 0; partial.defined() && block < blocks; ++block) weight_grad.add_(partial.select(0, block));
  return dx;
}

at::Tensor rope(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                bool inverse) {
  const int64_t tokens = x.size(0), heads = x.size(1), half = x.size(2) / 2, size = heads * half * 2;
  at::Tensor y = at::empty_like(x);
  with_elements(x, [&](auto element) {
    using T = decltype(element);
    const T* in = elements<T>(x);
    T* out = mutable_elements<T>(y);
    const auto *c = elements<float>(cos), *s = elements<float>(sin);
    at::parallel_for(0, tokens, rows_per_task(size), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        kernels_of<T>(kernels).rope(in + t * size, c + t * half, s + t * half, inverse ? -1.0f : 1.0f, heads, half,
                                    out + t * size);
      }
    });
  });
  return y;
}

at::Tensor silu_mul(const DenseKernels& kernels, const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  with_elements(gate, [&](auto element) {
    using T = decltype(element);
    const T *g = elements<T>(gate), *u = elements<T>(up);
    T* out = mutable_elements<T>(y);
    at::parallel_for(0, gate.numel(), kPiece, [&](int64_t begin, int64_t end) {
      kernels_of<T>(kernels).silu_mul(g + begin, u + begin, end - begin, out + begin);
    });
  });
  return y;
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const DenseKernels& kernels, const at::Tensor& dy,
                                                    const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
  with_elements(gate, [&](auto element) {
    using T = decltype(element);
    const T *d = elements<T>(dy), *g = elements<T>(gate), *u = elements<T>(up);
    T *out_gate = mutable_elements<T>(dgate), *out_up = mutable_elements<T>(dup);
    at::parallel_for(0, gate.numel(), kPiece, [&](int64_t begin, int64_t end) {
      kernels_of<T>(kernels).silu_mul_backward(d + begin, g + begin, u + begin, end - begin, out_gate + begin,
                                               out_up + begin);
    });
  });
  return {dgate, dup};
}

at::Tensor decode_attention(const DenseKernels& kernels, const at::Tensor& q, const at::Tensor& k_cache,
                            const at::Tensor& v_cache, const std::vector<int64_t>& slots,
                            const std::vector<int64_t>& lengths, const AttentionOptions& options) {
  const int64_t heads = q.size(1), size = q.size(2), kv_heads = k_cache.size(1), capacity = k_cache.size(2);
  const int64_t group = heads / kv_heads, longest = *std::max_element(lengths.begin(), lengths.end());
  at::Tensor out = at::empty_like(q);
  with_elements(q, [&](auto element) {
    using T = decltype(element);
    const T *query = elements<T>(q), *keys = elements<T>(k_cache), *values = elements<T>(v_cache);
    T* mixed = mutable_elements<T>(out);
    share_tasks(q.size(0) * kv_heads, [&](const auto& next) {
      std::vector<float> scratch(std::min<int64_t>(group, 4) * longest);
      for (int64_t task = next(); task >= 0; task = next()) {
        const int64_t row = task / kv_heads, kv_head = task % kv_heads;
        const int64_t first = options.window > 0 ? std::max<int64_t>(0, lengths[row] - options.window) : 0;
        const int64_t cached = ((slots[row] * kv_heads + kv_head) * capacity + first) * size;
        const int64_t offset = (row * heads + kv_head * group) * size;
        kernels_of<T>(kernels).decode_attention(query + offset, keys + cached, values + cached, group,
                                                lengths[row] - first, size, static_cast<float>(options.scale),
                                                static_cast<float>(options.softcap), scratch.data(), mixed + offset);
      }
    });
  });
  return out;
}

}  // namespace rqat::ops::cpu
