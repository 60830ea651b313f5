#include "rqat/ops/cpu.h"

#include <ATen/native/CPUBlas.h>

#include <cstdlib>
#include <vector>

#include "cpu/level.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::ops {
namespace cpu {
namespace {

namespace blas = at::native::cpublas;

// LibTorch has no query for brgemm: it throws where oneDNN lacks the instructions or was switched off.
template <class Scalar>
bool brgemm_works(bool is_vnni) {
  constexpr int64_t kDepth = 32, kColumns = 32;
  std::vector<Scalar> a(kDepth, Scalar(1.0f)), b(kDepth * kColumns, Scalar(1.0f));
  std::vector<float> c(kColumns, 0.0f);
  try {
    blas::brgemm(1, kColumns, kDepth, kDepth, kColumns, kColumns, false, a.data(), b.data(), c.data(), is_vnni);
    blas::brgemm_release(is_vnni);
  } catch (const c10::Error&) {
    return false;
  }
  return c.front() == float(kDepth) && c.back() == float(kDepth);
}

const char* name_of(CpuKernels level) {
  switch (level) {
    case CpuKernels::kAvx512:
      return "avx512";
    case CpuKernels::kAvx2:
      return "avx2";
    case CpuKernels::kPortable:
      break;
  }
  return "portable";
}

}  // namespace

CpuKernels machine_kernels() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx2 && avx512) return CpuKernels::kAvx512;
  if (avx2) return CpuKernels::kAvx2;
#endif
  return CpuKernels::kPortable;
}

CpuKernels requested_kernels(const char* text, CpuKernels best) {
  if (text == nullptr || *text == '\0') return best;
  for (const CpuKernels level : {CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512})
    if (std::string(text) == name_of(level)) return std::min(level, best);
  throw base::ConfigError(base::cat("environment variable RQAT_KERNELS is \"", text,
                                    "\"; allowed are portable, avx2 and avx512: set one of these or unset it"));
}

bool has_float_brgemm(CpuKernels level) {
  static const bool works = machine_kernels() != CpuKernels::kPortable && brgemm_works<float>(false);
  return level != CpuKernels::kPortable && works;
}

bool has_bf16_brgemm(CpuKernels level) {
#if defined(__x86_64__)
  static const bool works = machine_kernels() == CpuKernels::kAvx512 && __builtin_cpu_supports("avx512bf16") &&
                            brgemm_works<at::BFloat16>(true);
  return level == CpuKernels::kAvx512 && works;
#else
  return level == CpuKernels::kAvx512;  // never: no such level here
#endif
}

}  // namespace cpu

CpuKernels cpu_kernels() {
  static const CpuKernels level = cpu::requested_kernels(std::getenv("RQAT_KERNELS"), cpu::machine_kernels());
  return level;
}

std::string cpu_kernels_text() {
  return base::cat(cpu::name_of(cpu_kernels()), " (bf16 brgemm: ", has_bf16_brgemm() ? "yes" : "no", ")");
}

bool has_bf16_brgemm() { return cpu::has_bf16_brgemm(cpu_kernels()); }

}  // namespace rqat::ops
