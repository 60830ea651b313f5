// The row kernels of the dense ops at level avx512.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/dense.h"

// All vectors are local to forced-inline functions, so the calling convention this warning is about plays no part.
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), \
                             apply_to = function)
#endif
#define RQAT_SIMD_AVX512

namespace rqat::ops::cpu {
namespace avx512 {
namespace {

#include "cpu/simd/vector.inl"
// The rest builds on the vectors.
#include "cpu/simd/pointwise.inl"

#include "cpu/simd/attention.inl"
#include "cpu/simd/loss.inl"
#include "cpu/simd/moments.inl"
#include "cpu/simd/table.inl"

}  // namespace
}  // namespace avx512

const DenseKernels& dense_kernels_avx512() { return avx512::kTable; }

}  // namespace rqat::ops::cpu

#ifdef __clang__
#pragma clang attribute pop
#endif
#pragma GCC pop_options

#endif
