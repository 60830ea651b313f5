// Named, splittable random streams: every consumer derives its own from (seed, name, index), so that adding one never
// shifts another, and results do not depend on thread or rank count. Counter-based (SplitMix64), same on every machine.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace rqat::base {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  /// The stream of `name` and `index` under `seed`.
  Rng(uint64_t seed, std::string_view name, uint64_t index = 0);

  uint64_t next();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Uniform integer in [low, high], both included, without bias. Throws std::invalid_argument when low > high.
  int64_t integer(int64_t low, int64_t high);
  /// Standard normal (Box-Muller, no cached second value).
  double normal();
  template <class T>
  const T& pick(const std::vector<T>& items) {
    return items[static_cast<size_t>(integer(0, static_cast<int64_t>(items.size()) - 1))];
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<size_t>(integer(0, static_cast<int64_t>(i) - 1))]);
  }
  uint64_t state() const { return state_; }
  void set_state(uint64_t state) { state_ = state; }

 private:
  uint64_t state_;
};

}  // namespace rqat::base
