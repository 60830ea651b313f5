// Which kernels run on this CPU.
#pragma once

#include <string>

namespace rqat::ops {

enum class CpuKernels { kPortable, kAvx2, kAvx512 };

/// Best level of this machine, lowered by the environment variable RQAT_KERNELS=portable|avx2|avx512 (golden tests use
/// portable). An unknown value throws ConfigError.
CpuKernels cpu_kernels();
/// "avx512 (bf16 brgemm: yes)" for `rqat env`.
std::string cpu_kernels_text();
/// Whether bf16 brgemm (AVX-512 or AMX) may be used: false with RQAT_KERNELS=portable.
bool has_bf16_brgemm();

}  // namespace rqat::ops
