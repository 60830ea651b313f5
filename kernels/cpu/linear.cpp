#include "cpu/linear.h"

#include <ATen/ATen.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/work.h"

namespace rqat::ops::cpu {
namespace {

namespace blas = at::native::cpublas;

int64_t divide_up(int64_t x, int64_t step) { return (x + step - 1) / step; }
int64_t round_up(int64_t x, int64_t step) { return divide_up(x, step) * step; }

void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const uint16_t* a,
              const uint16_t* b, float* c) {
  blas::brgemm(m, n, k, lda, ldb, ldc, add, reinterpret_cast<const at::BFloat16*>(a),
               reinterpret_cast<const at::BFloat16*>(b), c, true);
}

template <class Body>
void for_each_task(int64_t count, const Body& body) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) body(task);
  });
}

at::Tensor bits(at::IntArrayRef shape) { return at::empty(shape, at::TensorOptions().dtype(at::kBFloat16)); }

// brgemm takes bf16 in pairs along K: an odd K gets a column of zeros.
at::Tensor even_columns(const at::Tensor& x) { return x.size(1) % 2 == 0 ? x : at::constant_pad_nd(x, {0, 1}); }

// Depth goes in chunks of one size, the last rounded up: brgemm compiles a kernel for each depth it meets.
constexpr int64_t kChunk = 1024, kDepthStep = 64;
constexpr int64_t kSide = 64;  // of a block of the accumulator
constexpr int64_t kColumnBlocksOfTask = 3;

class TransposedProduct {
 public:
  TransposedProduct(const DenseKernels& kernels, at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b)
      : pack_(kernels.pack),
        depth_(a.size(0)),
        rows_(a.size(1)),
        columns_(b.size(1)),
        longest_(std::min(kChunk, round_up(depth_, kDepthStep))),
        a_(elements<uint16_t>(a)),
        b_(elements<uint16_t>(b)),
        sums_(mutable_elements<float>(accumulator)),
        left_(bits({row_blocks(), kSide, longest_})),
        right_(bits({column_blocks(), longest_ / 2, kSide, 2})) {}

  void run() {
    for (int64_t start = 0; start < depth_; start += kChunk) {
      count_ = std::min(kChunk, depth_ - start);
      padded_ = round_up(count_, kDepthStep);
      for_each_task(row_blocks() + column_blocks(), [&](int64_t task) {
        task < row_blocks() ? pack_left(start, task) : pack_right(start, task - row_blocks());
      });
      add_chunk();
    }
  }

 private:
  int64_t row_blocks() const { return divide_up(rows_, kSide); }
  int64_t column_blocks() const { return divide_up(columns_, kSide); }
  uint16_t* panel(int64_t block) const { return mutable_elements<uint16_t>(left_) + block * kSide * longest_; }
  uint16_t* tile(int64_t block) const { return mutable_elements<uint16_t>(right_) + block * kSide * longest_; }

  void pack_left(int64_t start, int64_t block) const {
    const int64_t first = block * kSide;
    pack_.transpose({a_ + start * rows_ + first, rows_, count_, std::min(kSide, rows_ - first)}, kSide, padded_,
                    panel(block));
  }
  void pack_right(int64_t start, int64_t block) const {
    const int64_t first = block * kSide;
    pack_.pair_rows({b_ + start * columns_ + first, columns_, count_, std::min(kSide, columns_ - first)}, padded_ / 2,
                    kSide, tile(block));
  }

  void add_chunk() const {
    const int64_t groups = divide_up(column_blocks(), kColumnBlocksOfTask);
    share_tasks(row_blocks() * groups, [&](const auto& next) {
      std::vector<float> buffer(kSide * kSide);
      for (int64_t task = next(); task >= 0; task = next()) {
        const int64_t begin = task % groups * kColumnBlocksOfTask;
        const int64_t end = std::min(column_blocks(), begin + kColumnBlocksOfTask);
        for (int64_t column = begin; column < end; ++column) add_block(task / groups, column, buffer.data());
      }
      blas::brgemm_release(true);
    });
  }

  void add_block(int64_t row_block, int64_t column_block, float* buffer) const {
    const int64_t first = row_block * kSide, height = std::min(kSide, rows_ - first);
    const int64_t from = column_block * kSide, width = std::min(kSide, columns_ - from);
    float* target = sums_ + first * columns_ + from;
    const bool whole = width == kSide;
    multiply(height, kSide, padded_, padded_, kSide, whole ? columns_ : kSide, whole, panel(row_block),
             tile(column_block), whole ? target : buffer);
    for (int64_t r = 0; !whole && r < height; ++r)
      for (int64_t c = 0; c < width; ++c) target[r * columns_ + c] += buffer[r * kSide + c];
  }

  const PackKernels& pack_;
  int64_t depth_, rows_, columns_, longest_;
  int64_t count_ = 0, padded_ = 0;  // of this chunk
  const uint16_t *a_, *b_;
  float* sums_;
  at::Tensor left_, right_;
};

}  // namespace

at::Tensor pack_tiles(const DenseKernels& kernels, const at::Tensor& weight) {
  const int64_t rows = weight.size(0), columns = weight.size(1), pairs = divide_up(columns, 2);
  at::Tensor tiles = bits({divide_up(rows, kTileRows), pairs, kTileRows, 2});
  const auto* in = elements<uint16_t>(weight);
  auto* out = mutable_elements<uint16_t>(tiles);
  for_each_task(tiles.size(0), [&](int64_t tile) {
    const int64_t first = tile * kTileRows;
    kernels.pack.pair_columns({in + first * columns, columns, std::min(kTileRows, rows - first), columns}, pairs,
                              kTileRows, out + tile * pairs * kTileRows * 2);
  });
  return tiles;
}

at::Tensor matmul_tiles(const at::Tensor& x_given, const at::Tensor& tiles, int64_t begin, int64_t end) {
  constexpr int64_t kRows = 64;
  const at::Tensor x = even_columns(x_given);
  const int64_t rows = x.size(0), depth = x.size(1), width = end - begin, tile_size = depth * kTileRows;
  at::Tensor result = at::empty({rows, width}, x.options().dtype(at::kFloat));
  const int64_t first_tile = begin / kTileRows, tile_count = divide_up(end, kTileRows) - first_tile;
  if (rows == 0 || width == 0) return result;
  if (depth == 0) return result.zero_();
  const auto *left = elements<uint16_t>(x), *right = elements<uint16_t>(tiles);
  auto* out = mutable_elements<float>(result);
  share_tasks(tile_count, [&](const auto& next) {
    float buffer[kRows * kTileRows];
    for (int64_t task = next(); task >= 0; task = next()) {
      const int64_t tile = first_tile + task;
      const int64_t from = std::max(begin, tile * kTileRows), to = std::min(end, (tile + 1) * kTileRows);
      const bool whole = to - from == kTileRows;
      for (int64_t row = 0; row < rows; row += kRows) {
        const int64_t count = std::min(kRows, rows - row);
        float* target = out + row * width + from - begin;
        multiply(count, kTileRows, depth, depth, kTileRows, whole ? width : kTileRows, false, left + row * depth,
                 right + tile * tile_size, whole ? target : buffer);
        for (int64_t r = 0; !whole && r < count; ++r)
          std::memcpy(target + r * width, buffer + r * kTileRows + from - tile * kTileRows,
                      sizeof(float) * (to - from));
      }
    }
    blas::brgemm_release(true);
  });
  return result;
}

void accumulate_tn(const DenseKernels& kernels, at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b) {
  if (accumulator.numel() > 0 && a.size(0) > 0) TransposedProduct(kernels, accumulator, a, b).run();
}

at::Tensor linear_few_rows(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias) {
  constexpr int64_t kBlock = 64;  // rows of the weight at a time
  const int64_t rows = x.size(0), depth = x.size(1), width = weight.size(0), lanes = round_up(rows, 16);
  at::Tensor result = at::empty({rows, width}, x.options()), pairs = bits({depth / 2, lanes, 2});
  auto* packed = mutable_elements<uint16_t>(pairs);
  kernels.pack.pair_columns({elements<uint16_t>(x), depth, rows, depth}, depth / 2, lanes, packed);
  const auto* left = elements<uint16_t>(weight);
  const at::Tensor wide_bias = bias.defined() ? bias.to(at::kFloat).contiguous() : at::Tensor();
  const float* offset = bias.defined() ? elements<float>(wide_bias) : nullptr;
  auto* out = mutable_elements<uint16_t>(result);
  share_tasks(divide_up(width, kBlock), [&](const auto& next) {
    std::vector<float> product(kBlock * kBlock);
    const std::vector<float> ones(kBlock, 1.0f);
    for (int64_t block = next(); block >= 0; block = next()) {
      const int64_t first = block * kBlock, count = std::min(kBlock, width - first);
      // Columns lie kBlock apart, as transpose_out wants them.
      multiply(count, lanes, depth, depth, lanes, kBlock, false, left + first * depth, packed, product.data());
      for (int64_t r = 0; offset != nullptr && r < count; ++r)
        for (int64_t c = 0; c < rows; ++c) product[r * kBlock + c] += offset[first + r];
      kernels.attention.transpose_out(product.data(), count, rows, ones.data(), out + first, width);
    }
    blas::brgemm_release(true);
  });
  return result;
}

}  // namespace rqat::ops::cpu
