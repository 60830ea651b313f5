// Rows of rms_norm, rope, silu_mul, decode attention and sums of squares.

// Calls f(offset, count) for whole vectors with count = 16 known to the compiler, then once for the rest.
template <class Body>
RQAT_INLINE void for_vectors(int64_t size, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) body(i, kLanes);
  if (i < size) body(i, size - i);
}
template <class T>
RQAT_INLINE F load_some(const T* p, int64_t count) {
  return count == kLanes ? load(p) : load_part(p, count);
}
template <class T>
RQAT_INLINE void store_some(T* p, int64_t count, F x) {
  if (count == kLanes) {
    store(p, x);
  } else {
    store_part(p, count, x);
  }
}

template <class T>
float rms_norm(const T* x, const T* weight, float eps, const NormStyle& style, int64_t size, T* y) {
  const auto offset = static_cast<float>(style.weight_offset);
  F squares{};
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F value = load_some(x + i, n);
    squares = fma(value, value, squares);
  });
  const float rstd = 1.0f / std::sqrt(sum(squares) / static_cast<float>(size) + eps);
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    F normed = load_some(x + i, n) * rstd;
    if (!style.round_last) normed = rounded<T>(normed);
    store_some(y + i, n, normed * (load_some(weight + i, n) + offset));
  });
  return rstd;
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* weight, float rstd, const NormStyle& style, int64_t size,
                       T* dx, float* weight_grad) {
  const auto offset = static_cast<float>(style.weight_offset);
  F products{};
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F g = load_some(dy + i, n), normed = load_some(x + i, n) * rstd;
    products = fma(g * (load_some(weight + i, n) + offset), normed, products);
    if (weight_grad != nullptr) {
      const F factor = style.round_last ? normed : rounded<T>(normed);
      store_some(weight_grad + i, n, load_some(weight_grad + i, n) + g * factor);
    }
  });
  const float mean = sum(products) / static_cast<float>(size);
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F normed = load_some(x + i, n) * rstd;
    const F g = load_some(dy + i, n) * (load_some(weight + i, n) + offset);
    store_some(dx + i, n, (g - normed * mean) * rstd);
  });
}

template <class T>
void rope(const T* x, const float* cos, const float* sin, float sign, int64_t heads, int64_t half, T* y) {
  for_vectors(half, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F c = load_some(cos + i, n), s = load_some(sin + i, n) * sign;
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t offset = head * 2 * half + i;
      const F first = load_some(x + offset, n), second = load_some(x + offset + half, n);
      store_some(y + offset, n, first * c - second * s);
      store_some(y + offset + half, n, second * c + first * s);
    }
  });
}

RQAT_INLINE F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }

template <class T>
void silu_mul(const T* gate, const T* up, int64_t count, T* y) {
  for_vectors(count, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F g = load_some(gate + i, n);
    store_some(y + i, n, g * sigmoid(g) * load_some(up + i, n));
  });
}

template <class T>
void silu_mul_backward(const T* dy, const T* gate, const T* up, int64_t count, T* dgate, T* dup) {
  for_vectors(count, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F d = load_some(dy + i, n), g = load_some(gate + i, n), s = sigmoid(g);
    store_some(dgate + i, n, d * load_some(up + i, n) * s * (1.0f + g * (1.0f - s)));
    store_some(dup + i, n, d * g * s);
  });
}

template <class T>
double wide_sum_of_squares(const T* x, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double value = load_part(x + i, 1)[0];
    total += value * value;
  }
  return total;
}

template <class T>
double sum_of_squares(const T* x, int64_t count) {
  constexpr int64_t kRun = 256;  // products of one run are added in fp32 lanes, runs in fp64
  double total = 0;
  for (int64_t start = 0; start < count; start += kRun) {
    const int64_t length = std::min(kRun, count - start);
    F squares{};
    for_vectors(length, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      const F value = load_some(x + start + i, n);
      squares = fma(value, value, squares);
    });
    float lanes[kLanes];
    store(lanes, squares);
    double run = 0;
    for (float lane : lanes) run += lane;
    // Squares leave the range of fp32 where the values are far inside it; such runs are rare enough to be added slowly.
    total += std::isfinite(run) ? run : wide_sum_of_squares(x + start, length);
  }
  return total;
}

// Lane sums of 16 vectors, in order, by halving: each fold leaves the partial sums of both its vectors in one.
#define RQAT_FOLD(name, low, high) \
  RQAT_INLINE F name(F a, F b) { return __builtin_shufflevector(a, b, low) + __builtin_shufflevector(a, b, high); }
#define RQAT_LIST(...) __VA_ARGS__
RQAT_FOLD(fold8, RQAT_LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
          RQAT_LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
RQAT_FOLD(fold4, RQAT_LIST(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
          RQAT_LIST(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
RQAT_FOLD(fold2, RQAT_LIST(0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29),
          RQAT_LIST(2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31))
RQAT_FOLD(fold1, RQAT_LIST(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
          RQAT_LIST(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31))
#undef RQAT_LIST
#undef RQAT_FOLD

RQAT_INLINE F sums_of_16(const F* x) {
  F eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = fold8(x[2 * i], x[2 * i + 1]);
  for (int i = 0; i < 4; ++i) four[i] = fold4(eight[2 * i], eight[2 * i + 1]);
  return fold1(fold2(four[0], four[1]), fold2(four[2], four[3]));
}

// Several heads share each cached row they read. Head sizes are walked in pieces of 64 and then of 16 elements, so that
// a piece's accumulators stay in registers.

// products[h * 16 + t] = lanes of q_h . k_t for kKeys cached rows.
template <int kHeads, int kKeys, int kVectors, class T>
RQAT_INLINE void key_products(const float* q, const T* k, int64_t size, F* products) {
  F lanes[kHeads][kKeys] = {};
  for (int e = 0; e < kVectors; ++e) {
    F key[kKeys];
    for (int t = 0; t < kKeys; ++t) key[t] = load(k + t * size + e * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const F query = load(q + h * size + e * kLanes);
      for (int t = 0; t < kKeys; ++t) lanes[h][t] = fma(query, key[t], lanes[h][t]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int t = 0; t < kKeys; ++t) products[h * kLanes + t] = lanes[h][t];
  }
}

template <int kHeads, int kVectors, class T>
RQAT_INLINE void add_scores(const float* q, const T* k, int64_t length, int64_t size, float* scores) {
  for (int64_t start = 0; start < length; start += kLanes) {
    const int64_t keys = std::min(kLanes, length - start);
    F products[kHeads * kLanes] = {};
    int64_t t = 0;
    for (; t + 4 <= keys; t += 4) key_products<kHeads, 4, kVectors>(q, k + (start + t) * size, size, products + t);
    for (; t < keys; ++t) key_products<kHeads, 1, kVectors>(q, k + (start + t) * size, size, products + t);
    for (int h = 0; h < kHeads; ++h) {
      float* to = scores + h * length + start;
      store_some(to, keys, load_some(to, keys) + sums_of_16(products + h * kLanes));
    }
  }
}

template <int kHeads, int kVectors, class T>
RQAT_INLINE void mix_values(const float* p, const T* v, int64_t length, int64_t size, float* out) {
  F mixed[kHeads][kVectors] = {};
  for (int64_t t = 0; t < length; ++t) {
    F value[kVectors];
    for (int e = 0; e < kVectors; ++e) value[e] = load(v + t * size + e * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const F weight = splat(p[h * length + t]);
      for (int e = 0; e < kVectors; ++e) mixed[h][e] = fma(weight, value[e], mixed[h][e]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int e = 0; e < kVectors; ++e) store(out + h * size + e * kLanes, mixed[h][e]);
  }
}

RQAT_INLINE float softmax_numerators(float* scores, int64_t length, float scale) {
  F top = splat(-INFINITY);
  for_vectors(length, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    top = at_least(n == kLanes ? load(scores + i) : load_part(scores + i, n, -INFINITY), top);
  });
  const float shift = maximum(top) * scale;
  F total{};
  for_vectors(length, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F score = n == kLanes ? load(scores + i) : load_part(scores + i, n, -INFINITY);
    const F p = exponential(score * scale - shift);
    total += p;
    store_some(scores + i, n, p);
  });
  return sum(total);
}

// tanh of a score divided by the cap; exponential() saturates, so both ends are exact.
RQAT_INLINE F cap_ratio(F score, float softcap) { return 1.0f - 2.0f / (exponential(score * (2.0f / softcap)) + 1.0f); }

template <int kHeads, class T>
RQAT_INLINE void attend(const float* q, const T* k, const T* v, int64_t length, int64_t size, float scale,
                        float softcap, float* scores, float* mixed) {
  std::fill_n(scores, kHeads * length, 0.0f);
  int64_t e = 0;
  for (; e + 64 <= size; e += 64) add_scores<kHeads, 4>(q + e, k + e, length, size, scores);
  for (; e < size; e += 16) add_scores<kHeads, 1>(q + e, k + e, length, size, scores);
  if (softcap > 0) {
    for_vectors(kHeads * length, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      store_some(scores + i, n, cap_ratio(load_some(scores + i, n) * scale, softcap) * softcap);
    });
    scale = 1;
  }
  float total[kHeads];
  for (int h = 0; h < kHeads; ++h) total[h] = softmax_numerators(scores + h * length, length, scale);
  for (e = 0; e + 64 <= size; e += 64) mix_values<kHeads, 4>(scores, v + e, length, size, mixed + e);
  for (; e < size; e += 16) mix_values<kHeads, 1>(scores, v + e, length, size, mixed + e);
  for (int h = 0; h < kHeads; ++h) {
    for (e = 0; e < size; e += kLanes) store(mixed + h * size + e, load(mixed + h * size + e) / total[h]);
  }
}

template <class T>
void decode_attention(const T* q, const T* k, const T* v, int64_t queries, int64_t length, int64_t size, float scale,
                      float softcap, float* scratch, T* out) {
  constexpr int64_t kLargestHead = 1024, kMostHeads = 4;
  float wide[kMostHeads * kLargestHead], mixed[kMostHeads * kLargestHead];
  for (int64_t h = 0; h < queries; h += kMostHeads) {
    const int64_t heads = std::min(kMostHeads, queries - h);
    for (int64_t e = 0; e < heads * size; e += kLanes) store(wide + e, load(q + h * size + e));
    if (heads == 4) attend<4>(wide, k, v, length, size, scale, softcap, scratch, mixed);
    if (heads == 3) attend<3>(wide, k, v, length, size, scale, softcap, scratch, mixed);
    if (heads == 2) attend<2>(wide, k, v, length, size, scale, softcap, scratch, mixed);
    if (heads == 1) attend<1>(wide, k, v, length, size, scale, softcap, scratch, mixed);
    for (int64_t e = 0; e < heads * size; e += kLanes) store(out + h * size + e, load(mixed + e));
  }
}
