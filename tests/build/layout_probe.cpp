// Smallest program on LibTorch: the zip layout test builds and runs it.
#include <ATen/ATen.h>

#include <cstdio>

int main() {
  const at::Tensor sum = at::arange(4, at::kFloat).sum();
  std::printf("layout probe: %g\n", sum.item<double>());
  return 0;
}
