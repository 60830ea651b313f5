// Stops a run whose loss left all bounds, before the optimizer acts on it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace rqat::train {

class LossWatchdog {
 public:
  /// A loss above `factor` times the median of the last `window` losses is a fault (0 = only one that is not finite).
  LossWatchdog(double factor, int64_t window) : factor_(factor), window_(static_cast<size_t>(window)) {}

  /// What is wrong with `loss`, "" for nothing; a sound one is remembered. The first kFirst losses are not judged.
  std::string fault(double loss);

  /// The losses remembered, for a run that goes on from here.
  std::vector<double> losses() const { return {losses_.begin(), losses_.end()}; }
  void set_losses(const std::vector<double>& losses) { losses_.assign(losses.begin(), losses.end()); }

  static constexpr size_t kFirst = 10;

 private:
  double factor_;
  size_t window_;
  std::deque<double> losses_;
};

}  // namespace rqat::train
