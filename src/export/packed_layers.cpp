#include "packed_layers.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "input_groups.h"
#include "pack_quantized.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::exporting {

namespace {

using base::cat;

[[noreturn]] void fail(const io::TensorSource& source, const std::string& name, const std::string& why) {
  throw base::IoError(cat(source.path().string(), ": tensor '", name, "' ", why));
}

at::Tensor read_matrix(const io::TensorSource& source, const std::string& name,
                       std::initializer_list<at::ScalarType> dtypes) {
  const io::TensorInfo& info = source.info(name);
  if (std::find(dtypes.begin(), dtypes.end(), info.dtype) == dtypes.end()) {
    fail(source, name, cat("is ", c10::toString(info.dtype), ", expected ", c10::toString(*dtypes.begin())));
  }
  if (info.shape.size() != 2) fail(source, name, cat("is ", at::IntArrayRef(info.shape), ", expected a matrix"));
  return source.read(name);
}

at::Tensor read_scales(const io::TensorSource& source, const std::string& name) {
  return read_matrix(source, name, {at::kHalf, at::kBFloat16, at::kFloat}).to(at::kFloat);
}

void check_shape(const io::TensorSource& source, const std::string& name, const at::Tensor& tensor,
                 at::IntArrayRef expected) {
  if (tensor.sizes() != expected) fail(source, name, cat("is ", tensor.sizes(), ", expected ", expected));
}

/// Fields of `num_bits` bits along the rows of int32 words [R, W]: int32 [R, 32 W / num_bits].
at::Tensor fields_of(const at::Tensor& words, int64_t num_bits, const std::string& name) {
  return unpack_bits(words, num_bits, words.size(1) * 32 / num_bits, name);
}

/// s (q - z), with the group of each column.
at::Tensor weight_of(const StoredLayer& layer, const at::Tensor& group_of_column) {
  const at::Tensor zeros = layer.zero_point.index_select(1, group_of_column);
  return (layer.codes - zeros).to(at::kFloat) * layer.scale.index_select(1, group_of_column);
}

}  // namespace

StoredLayer read_gptq(const io::TensorSource& source, const std::string& name, int64_t num_bits, int64_t group_size,
                      bool zeros_minus_one) {
  StoredLayer layer;
  layer.codes = fields_of(read_matrix(source, name + ".qweight", {at::kInt}).t(), num_bits, name + ".qweight");
  layer.scale = read_scales(source, name + ".scales").t().contiguous();
  const int64_t rows = layer.codes.size(0), columns = layer.codes.size(1);
  const int64_t groups = (columns + group_size - 1) / group_size;
  check_shape(source, name + ".scales", layer.scale.t(), {groups, rows});
  at::Tensor zeros = fields_of(read_matrix(source, name + ".qzeros", {at::kInt}), num_bits, name + ".qzeros");
  check_shape(source, name + ".qzeros", zeros, {groups, rows});
  if (zeros_minus_one) zeros = zeros.add(1).remainder(int64_t{1} << num_bits);
  layer.zero_point = zeros.t().contiguous();
  layer.group_of_input = read_spread_groups(source, name + ".g_idx", columns, group_size);
  layer.weight =
      weight_of(layer, layer.group_of_input.defined() ? layer.group_of_input : contiguous_groups(columns, group_size));
  return layer;
}

StoredLayer read_awq(const io::TensorSource& source, const std::string& name, int64_t group_size) {
  const at::Tensor place = at::tensor({0, 4, 1, 5, 2, 6, 3, 7}, at::kInt);  // nibble that holds column c of eight
  const auto nibbles = [&](const std::string& tensor) {
    const at::Tensor words = read_matrix(source, tensor, {at::kInt});
    return words.unsqueeze(-1).bitwise_right_shift(place * 4).bitwise_and(15).flatten(1).t().contiguous();
  };
  StoredLayer layer;
  layer.codes = nibbles(name + ".qweight");
  layer.zero_point = nibbles(name + ".qzeros");
  layer.scale = read_scales(source, name + ".scales").t().contiguous();
  const int64_t rows = layer.codes.size(0), columns = layer.codes.size(1);
  const int64_t groups = (columns + group_size - 1) / group_size;
  check_shape(source, name + ".scales", layer.scale.t(), {groups, rows});
  check_shape(source, name + ".qzeros", layer.zero_point.t(), {groups, rows});
  layer.weight = weight_of(layer, contiguous_groups(columns, group_size));
  return layer;
}

StoredLayer read_mlx(const io::TensorSource& source, const std::string& name, int64_t num_bits) {
  const at::Tensor words = read_matrix(source, name + ".weight", {at::kUInt32}).view(at::kInt);
  StoredLayer layer;
  layer.codes = fields_of(words, num_bits, name + ".weight");
  layer.scale = read_scales(source, name + ".scales");
  const at::Tensor biases = read_scales(source, name + ".biases");
  const int64_t rows = layer.codes.size(0), columns = layer.codes.size(1), groups = layer.scale.size(1);
  check_shape(source, name + ".scales", layer.scale, {rows, groups});
  check_shape(source, name + ".biases", biases, {rows, groups});
  layer.zero_point = at::round(-biases / layer.scale).to(at::kInt);
  const at::Tensor group_of_column = contiguous_groups(columns, (columns + groups - 1) / groups);
  layer.weight = layer.codes.to(at::kFloat) * layer.scale.index_select(1, group_of_column) +
                 biases.index_select(1, group_of_column);
  return layer;
}

}  // namespace rqat::exporting
