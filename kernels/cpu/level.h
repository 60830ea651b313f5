// Reading of RQAT_KERNELS, apart from the cached answer so that tests can reach it.
#pragma once

#include "rqat/ops/cpu.h"

namespace rqat::ops::cpu {

/// Best level this machine can run.
CpuKernels machine_kernels();
/// `text` (may be null) lowers `best`; a name that is none of portable, avx2, avx512 throws ConfigError.
CpuKernels requested_kernels(const char* text, CpuKernels best);
/// Whether fp32 brgemm (AVX2 or better) may be used at `level`.
bool has_float_brgemm(CpuKernels level);
/// Whether bf16 brgemm may be used at `level`.
bool has_bf16_brgemm(CpuKernels level);

}  // namespace rqat::ops::cpu
