// Comparisons shared by the tests of the dense ops.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <string>

namespace rqat::ops::test {

/// |a - b| <= tolerance * max(1, largest |b|), and no NaN.
inline testing::AssertionResult close(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  if (a.sizes() != b.sizes()) return testing::AssertionFailure() << a.sizes() << " against " << b.sizes();
  if (a.numel() == 0) return testing::AssertionSuccess();
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  const double gap = (x - y).abs().max().item<double>(), size = std::max(1.0, y.abs().max().item<double>());
  if (gap <= tolerance * size) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "largest gap " << gap << " at size " << size;
}

/// Whether `run` gives bit-equal tensors with 1, 2 and 3 threads.
template <class Run>
testing::AssertionResult same_for_any_threads(const Run& run) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor expected = run();
  testing::AssertionResult result = testing::AssertionSuccess();
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    if (!at::equal(run(), expected)) result = testing::AssertionFailure() << threads << " threads differ from one";
  }
  at::set_num_threads(before);
  return result;
}

/// First line of the ValueError that `run` throws; "" if it throws none.
template <class Run>
std::string value_error(const Run& run) {
  try {
    run();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "";
}

}  // namespace rqat::ops::test
