// 16-lane vectors in the compilers' vector extension. Included inside a namespace and a target region, once per level;
// RQAT_SIMD_AVX512 says which. Everything is forced inline: a vector must not cross a call at the wrong level.
#define RQAT_INLINE static inline __attribute__((always_inline))

constexpr int64_t kLanes = 16;
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef uint16_t H __attribute__((vector_size(32)));

RQAT_INLINE F splat(float x) { return F{} + x; }
RQAT_INLINE U as_bits(F x) { return (U)x; }
RQAT_INLINE F as_float(U x) { return (F)x; }
RQAT_INLINE I lane_index() { return I{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

// Comparisons are written so that a NaN in `x` survives.
RQAT_INLINE F at_least(F x, F low) { return x < low ? low : x; }
RQAT_INLINE F at_most(F x, F high) { return x > high ? high : x; }

#ifdef RQAT_SIMD_AVX512
RQAT_INLINE F fma(F a, F b, F c) { return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
RQAT_INLINE F square_root(F x) { return (F)_mm512_maskz_sqrt_ps(0xffff, (__m512)x); }
#else
struct Halves {
  __m256 low, high;
};
RQAT_INLINE Halves halves(F x) {
  Halves result;
  memcpy(&result, &x, sizeof(x));
  return result;
}
RQAT_INLINE F joined(Halves x) {
  F result;
  memcpy(&result, &x, sizeof(x));
  return result;
}
RQAT_INLINE F fma(F a, F b, F c) {
  const Halves x = halves(a), y = halves(b), z = halves(c);
  return joined({_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)});
}
RQAT_INLINE F square_root(F a) {
  const Halves x = halves(a);
  return joined({_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)});
}
#endif

RQAT_INLINE F load(const float* p) {
  F x;
  memcpy(&x, p, sizeof(x));
  return x;
}
RQAT_INLINE F widen(H bits) { return as_float(__builtin_convertvector(bits, U) << 16); }
RQAT_INLINE F load(const uint16_t* p) {
  H bits;
  memcpy(&bits, p, sizeof(bits));
  return widen(bits);
}
RQAT_INLINE void store(float* p, F x) { memcpy(p, &x, sizeof(x)); }

// Round to nearest even in the upper half of each lane; NaN stays NaN.
RQAT_INLINE U rounded_bits(F x) {
  const U bits = as_bits(x);
  const U rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return x == x ? rounded : (bits | 0x400000u);
}
RQAT_INLINE H narrow(F x) { return __builtin_convertvector(rounded_bits(x) >> 16, H); }
RQAT_INLINE void store(uint16_t* p, F x) {
  const H bits = narrow(x);
  memcpy(p, &bits, sizeof(bits));
}

// To T and back.
template <class T>
RQAT_INLINE F rounded(F x) {
  if constexpr (sizeof(T) == 2) return as_float(rounded_bits(x) & 0xffff0000u);
  return x;
}

// The first `count` < 16 elements; the other lanes hold `fill`.
template <class T>
RQAT_INLINE F load_part(const T* p, int64_t count, float fill = 0) {
  F x = splat(fill);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 2) {
      const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
      float value;
      memcpy(&value, &bits, sizeof(value));
      x[i] = value;
    } else {
      x[i] = p[i];
    }
  }
  return x;
}
template <class T>
RQAT_INLINE void store_part(T* p, int64_t count, F x) {
  T buffer[kLanes];
  store(buffer, x);
  for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

#define RQAT_SWAP8 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#define RQAT_SWAP4 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11
#define RQAT_SWAP2 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
#define RQAT_SWAP1 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14

RQAT_INLINE float sum(F x) {
  x += __builtin_shufflevector(x, x, RQAT_SWAP8);
  x += __builtin_shufflevector(x, x, RQAT_SWAP4);
  x += __builtin_shufflevector(x, x, RQAT_SWAP2);
  x += __builtin_shufflevector(x, x, RQAT_SWAP1);
  return x[0];
}
RQAT_INLINE float maximum(F x) {
  x = at_least(x, __builtin_shufflevector(x, x, RQAT_SWAP8));
  x = at_least(x, __builtin_shufflevector(x, x, RQAT_SWAP4));
  x = at_least(x, __builtin_shufflevector(x, x, RQAT_SWAP2));
  x = at_least(x, __builtin_shufflevector(x, x, RQAT_SWAP1));
  return x[0];
}

// e^x to 1e-7 relative; 0 below -87.3, e^88 above 88.
RQAT_INLINE F exponential(F x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
  const F bounded = at_most(at_least(x, splat(-87.3f)), splat(88.0f));
  const F shifted = fma(bounded, splat(1.44269504088896341f), splat(kMagic));
  const F n = shifted - kMagic;
  F r = fma(n, splat(-0.693359375f), bounded);
  r = fma(n, splat(2.12194440e-4f), r);
  F y = splat(1.9875691500e-4f);
  y = fma(y, r, splat(1.3981999507e-3f));
  y = fma(y, r, splat(8.3334519073e-3f));
  y = fma(y, r, splat(4.1665795894e-2f));
  y = fma(y, r, splat(1.6666665459e-1f));
  y = fma(y, r, splat(5.0000001201e-1f));
  y = fma(y, r * r, r) + 1.0f;
  const U power = (as_bits(shifted) - 0x4b400000u + 127u) << 23;
  return x < -87.3f ? F{} : y * as_float(power);
}

// log(1 + y) for 0 <= y <= 1.
RQAT_INLINE F log_one_plus(F y) {
  const F u = 1.0f + y;
  const F lost = y - (u - 1.0f);
  const auto large = u > 1.41421356f;
  const F f = (large ? u * 0.5f : u) - 1.0f;
  F p = splat(7.0376836292e-2f);
  p = fma(p, f, splat(-1.1514610310e-1f));
  p = fma(p, f, splat(1.1676998740e-1f));
  p = fma(p, f, splat(-1.2420140846e-1f));
  p = fma(p, f, splat(1.4249322787e-1f));
  p = fma(p, f, splat(-1.6668057665e-1f));
  p = fma(p, f, splat(2.0000714765e-1f));
  p = fma(p, f, splat(-2.4999993993e-1f));
  p = fma(p, f, splat(3.3333331174e-1f));
  const F square = f * f;
  const F log_m = fma(p * f, square, fma(square, splat(-0.5f), f));
  return (large ? log_m + 0.693147180559945f : log_m) + lost / u;
}

// Rows and columns of a 16 x 16 matrix swapped.
#define RQAT_EXCHANGE(step, first, second)                                                      \
  for (int64_t i = 0; i < kLanes; ++i) {                                                        \
    if (i & step) continue;                                                                     \
    const U a = x[i], b = x[i + step];                                                          \
    x[i] = __builtin_shufflevector(a, b, RQAT_UNPACK first);                                    \
    x[i + step] = __builtin_shufflevector(a, b, RQAT_UNPACK second);                            \
  }
#define RQAT_UNPACK(...) __VA_ARGS__
RQAT_INLINE void transpose16(U* x) {
  RQAT_EXCHANGE(8, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                (8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
  RQAT_EXCHANGE(4, (0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                (4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
  RQAT_EXCHANGE(2, (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
  RQAT_EXCHANGE(1, (0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                (1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
}
