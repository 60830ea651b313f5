// Which inputs share a scale, where files say it (act-order).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "rqat/io/safetensors.h"

namespace rqat::exporting {

/// int64 [columns]: k / group.
at::Tensor contiguous_groups(int64_t columns, int64_t group);

/// The tensor `name` of a file, which gives the group of each input: int64 [columns], or undefined when it is missing,
/// or is contiguous_groups(), or holds -1 alone (files that leave it unset). Throws IoError on a wrong dtype or shape,
/// a group that does not exist, and one with another number of inputs than `group` (the last one: what is left).
at::Tensor read_spread_groups(const io::TensorSource& source, const std::string& name, int64_t columns, int64_t group);

/// int64 [columns], by group and then by number: the input order of a layer with these groups.
at::Tensor order_of_groups(const at::Tensor& group_of_input);

}  // namespace rqat::exporting
