#include "machine_speed.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <functional>

#include "peak_memory.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::cli {

namespace {

constexpr int64_t kReadBytes = int64_t{1} << 30;

/// One timed thing; `work` returns a tensor that is ready only when all of it is done.
struct Probe {
  BenchmarkSeries series;
  std::function<at::Tensor()> work;
};

Probe product(int64_t m, int64_t n, int64_t k, int64_t times, at::Device device) {
  const auto options = at::TensorOptions(device).dtype(at::kBFloat16);
  const at::Tensor x = at::randn({m, k}, options), w = at::randn({n, k}, options);
  const double flops = 2e-9 * static_cast<double>(m * n * k * times);
  return {{base::cat("bf16 product ", m, " x ", n, " x ", k), {}, flops, "GFLOP"}, [x, w, times] {
            at::Tensor y;
            for (int64_t i = 0; i < times; ++i) y = at::mm(x, w.t());
            return y;
          }};
}

/// Sums words on all threads: eight sums at once, so that the loads are what takes time.
at::Tensor read_words(const at::Tensor& words) {
  constexpr int64_t kLanes = 64;
  const int64_t* data = words.const_data_ptr<int64_t>();
  at::Tensor sums = at::zeros({at::get_num_threads() + 1}, at::kLong);
  int64_t* out = sums.mutable_data_ptr<int64_t>();
  at::parallel_for(0, words.numel() / kLanes, 1, [&](int64_t begin, int64_t end) {
    std::array<int64_t, kLanes> lanes{};
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < kLanes; ++j) lanes[static_cast<size_t>(j)] += data[i * kLanes + j];
    }
    for (const int64_t lane : lanes) out[at::get_thread_num()] += lane;
  });
  return sums;
}

Probe reading(at::Device device) {
  const at::Tensor words = at::ones({kReadBytes / 8}, at::TensorOptions(device).dtype(at::kLong));
  return {{"reading 1 GiB", {}, 1e-9 * static_cast<double>(kReadBytes), "GB"},
          [words] { return words.is_cpu() ? read_words(words) : words.sum(); }};
}

}  // namespace

BenchmarkResult machine_speed(int64_t repeats, at::Device device) {
  const at::NoGradGuard no_grad;
  const PeakMemory peak;
  std::vector<Probe> probes{product(2048, 2048, 2048, 4, device), product(1024, 1536, 576, 32, device),
                            reading(device)};
  for (int64_t i = 0; i <= repeats; ++i) {
    for (Probe& probe : probes) {
      const double start = seconds_now();
      probe.work().max().item();  // waits for a GPU
      if (i > 0) probe.series.seconds.push_back(seconds_now() - start);
    }
  }
  BenchmarkResult result{"the speed of this machine", {}, peak.bytes()};
  for (Probe& probe : probes) result.series.push_back(std::move(probe.series));
  return result;
}

}  // namespace rqat::cli
