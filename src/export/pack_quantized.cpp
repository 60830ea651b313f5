#include "pack_quantized.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "input_groups.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::exporting {

namespace {

using base::cat;
using nlohmann::json;

bool target_matches(const std::string& target, const std::string& name) {
  if (base::starts_with(target, "re:")) {
    return std::regex_search(name, std::regex(target.substr(3)), std::regex_constants::match_continuous);
  }
  return target == "Linear" || target == name;
}

bool any_matches(const json& targets, const std::string& name) {
  for (const json& target : targets) {
    if (target_matches(target.get<std::string>(), name)) return true;
  }
  return false;
}

PackedScheme scheme_of_group(const json& weights) {
  PackedScheme scheme;
  scheme.num_bits = weights.at("num_bits").get<int64_t>();
  scheme.symmetric = weights.at("symmetric").get<bool>();
  const std::string strategy = weights.at("strategy").get<std::string>();
  if (strategy == "group") scheme.group_size = weights.at("group_size").get<int64_t>();
  const bool known = (strategy == "group" && scheme.group_size > 0) || strategy == "channel";
  if (!known || weights.at("type") != "int" || scheme.num_bits < 1 || scheme.num_bits > 8) {
    throw base::IoError(cat("unsupported weights ", weights.dump()));
  }
  return scheme;
}

at::Tensor read_as(const io::TensorSource& source, const std::string& name,
                   std::initializer_list<at::ScalarType> dtypes) {
  const at::ScalarType stored = source.info(name).dtype;
  if (std::find(dtypes.begin(), dtypes.end(), stored) == dtypes.end()) {
    throw base::IoError(cat(source.path().string(), ": tensor '", name, "' is ", c10::toString(stored), ", expected ",
                            c10::toString(*dtypes.begin())));
  }
  return source.read(name);
}

[[noreturn]] void fail_shape(const std::string& what, at::IntArrayRef got, const std::string& expected) {
  throw base::IoError(cat("tensor '", what, "' is ", got, ", expected ", expected));
}

/// A code of up to 8 bits lies in one word, or in the high end of one and the low end of the next.
void unpack_row(const uint32_t* words, int64_t num_bits, int64_t columns, int32_t* codes) {
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t first = column * num_bits, last = first + num_bits - 1;
    const uint64_t pair = words[first / 32] | static_cast<uint64_t>(words[last / 32]) << 32;
    codes[column] = static_cast<int32_t>(pair >> (first % 32) & ((uint64_t{1} << num_bits) - 1));
  }
}

/// Before May 2026 a code lay in one word: 32 / num_bits of them, then padding.
void unpack_padded_row(const uint32_t* words, int64_t num_bits, int64_t columns, int32_t* codes) {
  const int64_t per_word = 32 / num_bits;
  for (int64_t column = 0; column < columns; ++column) {
    codes[column] = static_cast<int32_t>(words[column / per_word] >> (column % per_word * num_bits) &
                                         ((uint32_t{1} << num_bits) - 1));
  }
}

/// Zero points, packed along the rows, or (in older files) one signed byte each.
at::Tensor read_zero_points(const io::TensorSource& source, const std::string& key, int64_t num_bits, int64_t rows) {
  if (source.info(key).dtype == at::kChar) return source.read(key).to(at::kInt).add(int64_t{1} << (num_bits - 1));
  return unpack_bits(read_as(source, key, {at::kInt}).t(), num_bits, rows, cat(source.path().string(), ": ", key))
      .t()
      .contiguous();
}

}  // namespace

PackedScheme scheme_of(const json& config, const std::string& name, const std::filesystem::path& file) {
  try {
    const json& quantization = config.at("quantization_config");
    if (quantization.at("quant_method") != "compressed-tensors" || quantization.at("format") != "pack-quantized") {
      throw base::IoError(cat("quantization_config is ", quantization.at("quant_method").dump(), " in format ",
                              quantization.at("format").dump(), ", expected compressed-tensors, pack-quantized"));
    }
    if (!any_matches(quantization.at("ignore"), name)) {
      for (const json& group : quantization.at("config_groups")) {
        if (any_matches(group.at("targets"), name)) return scheme_of_group(group.at("weights"));
      }
    }
    throw base::IoError(cat("no group of quantization_config is for layer ", name));
  } catch (const json::exception& error) {
    throw base::IoError(cat(file.string(), ": quantization_config: ", error.what()));
  } catch (const std::regex_error& error) {
    throw base::IoError(cat(file.string(), ": quantization_config: a pattern of targets or ignore: ", error.what()));
  } catch (const base::IoError& error) {
    throw base::IoError(cat(file.string(), ": ", error.what()));
  }
}

at::Tensor unpack_bits(const at::Tensor& words, int64_t num_bits, int64_t columns, const std::string& what) {
  // Before anything is computed from a number that a file gives.
  if (words.dim() == 2 && columns > words.size(1) * 32 / num_bits) {
    fail_shape(what, words.sizes(), cat("words of 32 bits that hold ", columns, " codes of ", num_bits, " in a row"));
  }
  const int64_t per_row = (columns * num_bits + 31) / 32;
  const int64_t padded = (columns + 32 / num_bits - 1) / (32 / num_bits);
  const bool dense = words.dim() == 2 && words.size(1) == per_row;
  if (!dense && (words.dim() != 2 || words.size(1) != padded)) {
    fail_shape(what, words.sizes(), cat("[rows, ", per_row, "]"));
  }
  const at::Tensor stream = words.contiguous();
  const int64_t rows = stream.size(0);
  at::Tensor codes = at::empty({rows, columns}, at::kInt);
  const auto* word = reinterpret_cast<const uint32_t*>(stream.const_data_ptr<int32_t>());
  auto* code = codes.mutable_data_ptr<int32_t>();
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto unpack = dense ? unpack_row : unpack_padded_row;
      unpack(word + row * stream.size(1), num_bits, columns, code + row * columns);
    }
  });
  return codes;
}

StoredLayer read_pack_quantized(const io::TensorSource& source, const PackedScheme& scheme, const std::string& name) {
  const std::string where = cat(source.path().string(), ": ", name);
  const at::Tensor shape = read_as(source, name + ".weight_shape", {at::kLong});
  if (shape.numel() != 2) fail_shape(where + ".weight_shape", shape.sizes(), "[2]");
  const int64_t rows = shape[0].item<int64_t>(), columns = shape[1].item<int64_t>();
  const int64_t group = scheme.group_size > 0 ? scheme.group_size : columns;
  if (rows <= 0 || columns <= 0 || columns % group != 0) {
    throw base::IoError(cat(where, ".weight_shape says [", rows, ", ", columns, "], not groups of ", group));
  }

  StoredLayer layer;
  layer.group_of_input = read_spread_groups(source, name + ".weight_g_idx", columns, group);
  const at::Tensor words = read_as(source, name + ".weight_packed", {at::kInt});
  layer.codes = unpack_bits(words, scheme.num_bits, columns, where + ".weight_packed");
  if (layer.codes.size(0) != rows) fail_shape(where + ".weight_packed", words.sizes(), cat("[", rows, ", words]"));
  layer.scale = read_as(source, name + ".weight_scale", {at::kHalf, at::kBFloat16, at::kFloat}).to(at::kFloat);
  const std::vector<int64_t> grid{rows, columns / group};
  if (layer.scale.sizes() != at::IntArrayRef(grid))
    fail_shape(where + ".weight_scale", layer.scale.sizes(), cat(grid[0], " x ", grid[1]));
  if (scheme.symmetric) {
    layer.zero_point = at::full(grid, int64_t{1} << (scheme.num_bits - 1), at::kInt);
  } else {
    const std::string key = name + ".weight_zero_point";
    layer.zero_point = read_zero_points(source, key, scheme.num_bits, rows);
    if (layer.zero_point.sizes() != at::IntArrayRef(grid))
      fail_shape(where + ".weight_zero_point", layer.zero_point.sizes(), cat(grid[0], " x ", grid[1]));
  }
  const at::Tensor groups = layer.group_of_input.defined() ? layer.group_of_input : contiguous_groups(columns, group);
  const at::Tensor steps = layer.codes - layer.zero_point.index_select(1, groups);
  layer.weight = steps.to(at::kFloat) * layer.scale.index_select(1, groups);
  return layer;
}

}  // namespace rqat::exporting
