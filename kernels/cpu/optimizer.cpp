#include <algorithm>
#include <vector>

#include "cpu/dense.h"
#include "cpu/work.h"

namespace rqat::ops::cpu {
namespace {

// Pieces are a constant, not a share of the threads, so that sums are the same for any number of threads.
constexpr int64_t kPiece = 1 << 15;

template <class Body>
void for_pieces(int64_t count, const Body& body) {
  at::parallel_for(0, (count + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece)
      body(piece, piece * kPiece, std::min(kPiece, count - piece * kPiece));
  });
}

}  // namespace

void adamw_step(const DenseKernels& kernels, at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment,
                at::Tensor& second_moment, const AdamwFactors& factors) {
  float* p = mutable_elements<float>(parameter);
  const auto* g = elements<float>(grad);
  float *m = mutable_elements<float>(first_moment), *v = mutable_elements<float>(second_moment);
  for_pieces(parameter.numel(), [&](int64_t, int64_t start, int64_t count) {
    kernels.adamw(p + start, g + start, m + start, v + start, count, factors);
  });
}

void adamw_8bit_step(const DenseKernels& kernels, at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments,
                     const AdamwFactors& factors) {
  static_assert(kPiece % kMomentBlock == 0, "a block of moments belongs to one piece");
  const MomentBook &signed_book = moment_book(true), &plain_book = moment_book(false);
  float* p = mutable_elements<float>(parameter);
  const auto* g = elements<float>(grad);
  auto *first = mutable_elements<uint8_t>(moments.first), *second = mutable_elements<uint8_t>(moments.second);
  float* first_scale = mutable_elements<float>(moments.first_scale);
  float* second_scale = mutable_elements<float>(moments.second_scale);
  for_pieces(parameter.numel(), [&](int64_t, int64_t start, int64_t count) {
    float m[kMomentBlock], v[kMomentBlock];
    for (int64_t i = start; i < start + count; i += kMomentBlock) {
      const int64_t size = std::min(kMomentBlock, start + count - i), block = i / kMomentBlock;
      kernels.moments.decode(first + i, first_scale[block], signed_book, size, m);
      kernels.moments.decode(second + i, second_scale[block], plain_book, size, v);
      kernels.adamw(p + i, g + i, m, v, size, factors);
      first_scale[block] = kernels.moments.encode(m, signed_book, 128, size, first + i);
      second_scale[block] = kernels.moments.encode(v, plain_book, 0, size, second + i);
    }
  });
}

double sum_of_squares(const DenseKernels& kernels, const at::Tensor& tensor) {
  std::vector<double> sums((tensor.numel() + kPiece - 1) / kPiece);
  with_elements(tensor, [&](auto element) {
    using T = decltype(element);
    const T* data = elements<T>(tensor);
    for_pieces(tensor.numel(), [&](int64_t piece, int64_t start, int64_t count) {
      if constexpr (std::is_same_v<T, float>) {
        sums[piece] = kernels.fp32.sum_of_squares(data + start, count);
      } else {
        sums[piece] = kernels.bf16.sum_of_squares(data + start, count);
      }
    });
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

}  // namespace rqat::ops::cpu
