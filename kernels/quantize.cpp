#include "rqat/ops/quantize.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "checks.h"
#include "cpu/fake_quant.h"
#include "cuda/fake_quant.h"
#include "dispatch.h"
#include "rqat/ops/cpu.h"

namespace rqat::ops {
namespace {

constexpr int64_t kElementsPerTask = 32768;

int64_t rows_per_task(int64_t columns) {
  return std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(columns, 1));
}

void check_num_bits(const char* op, int64_t num_bits) {
  TORCH_CHECK_VALUE(num_bits >= 1 && num_bits <= 8, "[", op, "] expected num_bits in 1..8, got ", num_bits);
}

// Contiguous group parameters of a matrix, checked against its shape.
class GroupGrid {
 public:
  GroupGrid(const char* op, const at::Tensor& matrix, const at::Tensor& scale, const at::Tensor& zero_point,
            int64_t num_bits, int64_t group_size)
      : max_code_(float((1 << num_bits) - 1)) {
    check_matrix(op, "a matrix", matrix);
    TORCH_CHECK_VALUE(group_size > 0, "[", op, "] expected group_size > 0, got ", group_size);
    rows_ = matrix.size(0);
    columns_ = matrix.size(1);
    group_size_ = std::min(group_size, std::max<int64_t>(columns_, 1));
    groups_ = (columns_ + group_size_ - 1) / group_size_;
    check_dtype(op, "scale", scale, at::kFloat);
    check_dtype(op, "zero_point", zero_point, at::kByte);
    check_shape(op, "scale", scale, {rows_, groups_});
    check_shape(op, "zero_point", zero_point, {rows_, groups_});
    check_device(op, matrix, {scale, zero_point});
    scale_ = scale.contiguous();
    zero_point_ = zero_point.contiguous();
  }

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t groups() const { return groups_; }

  cpu::RowGrid row(int64_t index) const {
    return {scale_.const_data_ptr<float>() + index * groups_, zero_point_.const_data_ptr<uint8_t>() + index * groups_,
            columns_, group_size_, max_code_};
  }

  cuda::Grid whole() const {
    return {scale_.const_data_ptr<float>(),
            zero_point_.const_data_ptr<uint8_t>(),
            rows_,
            columns_,
            group_size_,
            groups_,
            max_code_};
  }

 private:
  at::Tensor scale_, zero_point_;
  int64_t rows_ = 0, columns_ = 0, groups_ = 0, group_size_ = 0;
  float max_code_;
};

void check_out_dtype(const char* op, at::ScalarType dtype) {
  TORCH_CHECK_VALUE(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf, "[", op,
                    "] expected dtype float32, bfloat16 or float16, got ", dtype);
}

[[maybe_unused]] cuda::OutType cuda_type(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return cuda::OutType::kBFloat16;
  return dtype == at::kHalf ? cuda::OutType::kFloat16 : cuda::OutType::kFloat32;
}

template <class Function>
void for_each_row(int64_t rows, int64_t columns, const Function& function) {
  at::parallel_for(0, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) function(row);
  });
}

}  // namespace

at::Tensor quantize(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero_point, int64_t num_bits,
                    int64_t group_size) {
  check_num_bits("quantize", num_bits);
  check_dtype("quantize", "weight", weight, at::kFloat);
  const GroupGrid grid("quantize", weight, scale, zero_point, num_bits, group_size);
  const at::Tensor source = weight.contiguous();
  at::Tensor codes = at::empty(weight.sizes(), weight.options().dtype(at::kByte));
  const float* in = source.const_data_ptr<float>();
  uint8_t* out = codes.mutable_data_ptr<uint8_t>();
  const auto on_cpu = [&] {
    const auto& kernels = cpu::fake_quant_kernels(cpu_kernels());
    for_each_row(grid.rows(), grid.columns(), [&](int64_t row) {
      kernels.quantize(grid.row(row), in + row * grid.columns(), out + row * grid.columns());
    });
  };
  RQAT_ON_DEVICE("quantize", weight, on_cpu(),
                 check_launch("quantize", cuda::quantize(grid.whole(), in, out, current_stream(weight))));
  return codes;
}

at::Tensor dequantize(const at::Tensor& codes, const at::Tensor& scale, const at::Tensor& zero_point,
                      int64_t group_size, at::ScalarType dtype) {
  check_dtype("dequantize", "codes", codes, at::kByte);
  check_out_dtype("dequantize", dtype);
  const GroupGrid grid("dequantize", codes, scale, zero_point, 8, group_size);
  const at::Tensor source = codes.contiguous();
  at::Tensor result = at::empty(codes.sizes(), codes.options().dtype(dtype));
  const uint8_t* in = source.const_data_ptr<uint8_t>();
  char* out = static_cast<char*>(result.mutable_data_ptr());
  const auto on_cpu = [&] {
    const auto& kernels = cpu::fake_quant_kernels(cpu_kernels());
    const int64_t row_bytes = grid.columns() * result.element_size();
    for_each_row(grid.rows(), grid.columns(), [&](int64_t row) {
      kernels.dequantize(grid.row(row), in + row * grid.columns(), out + row * row_bytes, dtype);
    });
  };
  RQAT_ON_DEVICE(
      "dequantize", codes, on_cpu(),
      check_launch("dequantize", cuda::dequantize(grid.whole(), in, out, cuda_type(dtype), current_stream(codes))));
  return result;
}

at::Tensor fake_quant(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero_point, int64_t num_bits,
                      int64_t group_size, at::ScalarType dtype) {
  check_num_bits("fake_quant", num_bits);
  check_dtype("fake_quant", "weight", weight, at::kFloat);
  check_out_dtype("fake_quant", dtype);
  const GroupGrid grid("fake_quant", weight, scale, zero_point, num_bits, group_size);
  const at::Tensor source = weight.contiguous();
  at::Tensor result = at::empty(weight.sizes(), weight.options().dtype(dtype));
  const float* in = source.const_data_ptr<float>();
  char* out = static_cast<char*>(result.mutable_data_ptr());
  const auto on_cpu = [&] {
    const auto& kernels = cpu::fake_quant_kernels(cpu_kernels());
    const int64_t row_bytes = grid.columns() * result.element_size();
    for_each_row(grid.rows(), grid.columns(), [&](int64_t row) {
      kernels.fake_quant(grid.row(row), in + row * grid.columns(), out + row * row_bytes, dtype);
    });
  };
  RQAT_ON_DEVICE(
      "fake_quant", weight, on_cpu(),
      check_launch("fake_quant", cuda::fake_quant(grid.whole(), in, out, cuda_type(dtype), current_stream(weight))));
  return result;
}

FakeQuantGradients fake_quant_backward(at::Tensor gradient, const at::Tensor& weight, const at::Tensor& scale,
                                       const at::Tensor& zero_point, int64_t num_bits, int64_t group_size, bool clip,
                                       bool want_scale, bool want_zero_point, bool in_place) {
  constexpr const char* kOp = "fake_quant_backward";
  check_num_bits(kOp, num_bits);
  check_dtype(kOp, "weight", weight, at::kFloat);
  check_dtype(kOp, "gradient", gradient, at::kFloat);
  const GroupGrid grid(kOp, weight, scale, zero_point, num_bits, group_size);
  check_shape(kOp, "gradient", gradient, weight.sizes());
  check_device(kOp, weight, {gradient});
  TORCH_CHECK_VALUE(!in_place || gradient.is_contiguous(), "[", kOp,
                    "] expected a contiguous gradient with in_place, got strides ", gradient.strides());
  const at::Tensor source = weight.contiguous();
  const at::Tensor incoming = gradient.contiguous();
  FakeQuantGradients result;
  result.weight = in_place ? gradient : at::empty(weight.sizes(), weight.options());
  if (want_scale) result.scale = at::empty({grid.rows(), grid.groups()}, weight.options());
  if (want_zero_point) result.zero_point = at::empty({grid.rows(), grid.groups()}, weight.options());

  const cuda::BackwardArrays arrays{incoming.const_data_ptr<float>(),
                                    source.const_data_ptr<float>(),
                                    result.weight.mutable_data_ptr<float>(),
                                    want_scale ? result.scale.mutable_data_ptr<float>() : nullptr,
                                    want_zero_point ? result.zero_point.mutable_data_ptr<float>() : nullptr,
                                    clip};
  const auto on_cpu = [&] {
    const auto& kernels = cpu::fake_quant_kernels(cpu_kernels());
    for_each_row(grid.rows(), grid.columns(), [&](int64_t row) {
      const int64_t offset = row * grid.columns(), group_offset = row * grid.groups();
      kernels.backward(grid.row(row),
                       {arrays.gradient + offset, arrays.weight + offset, arrays.weight_gradient + offset,
                        want_scale ? arrays.scale_gradient + group_offset : nullptr,
                        want_zero_point ? arrays.zero_point_gradient + group_offset : nullptr, clip});
    });
  };
  RQAT_ON_DEVICE(kOp, weight, on_cpu(),
                 check_launch(kOp, cuda::fake_quant_backward(grid.whole(), arrays, current_stream(weight))));
  return result;
}

at::Tensor pack_codes(const at::Tensor& codes, int64_t num_bits) {
  check_num_bits("pack_codes", num_bits);
  check_dtype("pack_codes", "codes", codes, at::kByte);
  check_matrix("pack_codes", "codes", codes);
  check_device("pack_codes", codes, {});
  const int64_t rows = codes.size(0), columns = codes.size(1), words = (columns * num_bits + 31) / 32;
  const at::Tensor source = codes.contiguous();
  at::Tensor packed = at::empty({rows, words}, codes.options().dtype(at::kInt));
  const uint8_t* in = source.const_data_ptr<uint8_t>();
  auto* out = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  const auto on_cpu = [&] {
    std::atomic<int> used_bits{0};
    for_each_row(rows, columns, [&](int64_t row) {
      used_bits |= cpu::pack_row(in + row * columns, columns, num_bits, out + row * words);
    });
    TORCH_CHECK_VALUE(used_bits >> num_bits == 0, "[pack_codes] expected codes below ", 1 << num_bits,
                      ", got a code with more than ", num_bits, " bits");
  };
  RQAT_ON_DEVICE("pack_codes", codes, on_cpu(),
                 check_launch("pack_codes", cuda::pack_codes(in, rows, columns, num_bits, out, current_stream(codes))));
  return packed;
}

at::Tensor unpack_codes(const at::Tensor& packed, int64_t num_bits, int64_t num_columns) {
  check_num_bits("unpack_codes", num_bits);
  check_dtype("unpack_codes", "packed", packed, at::kInt);
  check_matrix("unpack_codes", "packed", packed);
  check_device("unpack_codes", packed, {});
  TORCH_CHECK_VALUE(num_columns >= 0, "[unpack_codes] expected num_columns >= 0, got ", num_columns);
  const int64_t rows = packed.size(0), words = packed.size(1);
  check_shape("unpack_codes", "packed", packed, {rows, (num_columns * num_bits + 31) / 32});
  const at::Tensor source = packed.contiguous();
  at::Tensor codes = at::empty({rows, num_columns}, packed.options().dtype(at::kByte));
  const auto* in = reinterpret_cast<const uint32_t*>(source.const_data_ptr<int32_t>());
  uint8_t* out = codes.mutable_data_ptr<uint8_t>();
  const auto on_cpu = [&] {
    for_each_row(rows, num_columns, [&](int64_t row) {
      cpu::unpack_row(in + row * words, num_columns, num_bits, out + row * num_columns);
    });
  };
  RQAT_ON_DEVICE(
      "unpack_codes", packed, on_cpu(),
      check_launch("unpack_codes", cuda::unpack_codes(in, rows, num_columns, num_bits, out, current_stream(packed))));
  return codes;
}

}  // namespace rqat::ops
