#include "input_groups.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::exporting {

namespace {

using base::cat;

/// Why `groups` do not part `columns` inputs into groups of `group`; "" = they do.
std::string fault_of(const at::Tensor& groups, int64_t columns, int64_t group) {
  const int64_t count = (columns + group - 1) / group;
  const at::Tensor outside = groups.lt(0).logical_or(groups.ge(count)).nonzero();
  if (outside.numel() > 0) {
    const int64_t input = outside[0][0].item<int64_t>();
    return cat("puts input ", input, " into group ", groups[input].item<int64_t>(), " of ", count, " (0 to ", count - 1,
               ")");
  }
  const at::Tensor sizes = at::bincount(groups, {}, count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t wanted = std::min(group, columns - i * group), got = sizes[i].item<int64_t>();
    if (got != wanted) return cat("puts ", got, " inputs into group ", i, ", expected ", wanted);
  }
  return "";
}

}  // namespace

at::Tensor contiguous_groups(int64_t columns, int64_t group) {
  return at::arange(columns, at::kLong).floor_divide(group);
}

at::Tensor read_spread_groups(const io::TensorSource& source, const std::string& name, int64_t columns, int64_t group) {
  if (!source.has(name)) return {};
  const auto fail = [&](const std::string& why) {
    throw base::IoError(cat(source.path().string(), ": tensor '", name, "' ", why));
  };
  const io::TensorInfo& info = source.info(name);
  if (info.dtype != at::kInt && info.dtype != at::kLong) fail(cat("is ", c10::toString(info.dtype), ", expected Int"));
  if (at::IntArrayRef(info.shape) != at::IntArrayRef{columns})
    fail(cat("is ", at::IntArrayRef(info.shape), ", expected [", columns, "]"));
  at::Tensor groups = source.read(name).to(at::kLong);
  if (at::equal(groups, contiguous_groups(columns, group)) || groups.eq(-1).all().item<bool>()) return {};
  const std::string fault = fault_of(groups, columns, group);
  if (!fault.empty()) fail(cat(fault, "; every scale must be that of ", group, " inputs"));
  return groups;
}

at::Tensor order_of_groups(const at::Tensor& group_of_input) {
  return at::argsort(group_of_input, /*stable=*/true, /*dim=*/0, /*descending=*/false);
}

}  // namespace rqat::exporting
