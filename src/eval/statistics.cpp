#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/base/rng.h"
#include "rqat/base/strings.h"
#include "rqat/eval/evaluate.h"

namespace rqat::eval {

namespace {

constexpr double kNormalQuantile = 1.959963984540054;  // of 0.975
constexpr int kResamples = 10000;

/// Linear interpolation between order statistics (type 7 of Hyndman and Fan, as numpy does).
double quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Proportion proportion(int64_t successes, int64_t total) {
  if (successes < 0 || successes > total) {
    throw std::invalid_argument(base::cat("proportion: ", successes, " successes of ", total, ", expected 0..", total));
  }
  if (total == 0) return {0, 0, 0, 0, 1};
  const double n = static_cast<double>(total), p = static_cast<double>(successes) / n,
               z2 = kNormalQuantile * kNormalQuantile;
  const double center = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormalQuantile / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {successes, total, p, successes == 0 ? 0 : center - half, successes == total ? 1 : center + half};
}

PairedDifference paired_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b, uint64_t seed) {
  if (a.size() != b.size() || a.empty()) {
    throw base::DataError(
        base::cat("paired difference: ", a.size(), " and ", b.size(),
                  " outcomes, expected the same number of both and at least one; compare models on the same problems"));
  }
  std::vector<int> difference(a.size());
  int64_t sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference[i] = (b[i] != 0) - (a[i] != 0);
    sum += difference[i];
  }
  const double n = static_cast<double>(a.size());
  base::Rng rng(seed, "paired bootstrap");
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    int64_t resampled = 0;
    for (size_t i = 0; i < difference.size(); ++i) {
      resampled += difference[static_cast<size_t>(rng.uniform() * n)];
    }
    mean = static_cast<double>(resampled) / n;
  }
  std::sort(means.begin(), means.end());
  PairedDifference result{static_cast<double>(sum) / n, quantile(means, 0.025), quantile(means, 0.975), false};
  result.shown = result.low > 0 || result.high < 0;
  return result;
}

}  // namespace rqat::eval
