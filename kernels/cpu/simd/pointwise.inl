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
float rms_norm(const T* x, const T* weight, float eps, int64_t size, T* y) {
  F squares{};
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F value = load_some(x + i, n);
    squares = fma(value, value, squares);
  });
  const float rstd = 1.0f / std::sqrt(sum(squares) / static_cast<float>(size) + eps);
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F normed = rounded<T>(load_some(x + i, n) * rstd);
    store_some(y + i, n, normed * load_some(weight + i, n));
  });
  return rstd;
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* weight, float rstd, int64_t size, T* dx, float* weight_grad) {
  F products{};
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F g = load_some(dy + i, n), normed = load_some(x + i, n) * rstd;
    products = fma(g * load_some(weight + i, n), normed, products);
    if (weight_grad != nullptr)
      store_some(weight_grad + i, n, load_some(weight_grad + i, n) + g * rounded<T>(normed));
  });
  const float mean = sum(products) / static_cast<float>(size);
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F normed = load_some(x + i, n) * rstd;
    store_some(dx + i, n, (load_some(dy + i, n) * load_some(weight + i, n) - normed * mean) * rstd);
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

// Head sizes are walked in pieces of 64 and then of 16 elements, so that a piece's accumulators stay in registers.
template <int kVectors, class T>
RQAT_INLINE void add_scores(const float* q, const T* k, int64_t length, int64_t size, float* scores) {
  F query[kVectors];
  for (int e = 0; e < kVectors; ++e) query[e] = load(q + e * kLanes);
  for (int64_t t = 0; t < length; ++t) {
    const T* row = k + t * size;
    F products{};
    for (int e = 0; e < kVectors; ++e) products = fma(query[e], load(row + e * kLanes), products);
    scores[t] += sum(products);
  }
}
template <int kVectors, class T>
RQAT_INLINE void mix_values(const float* p, const T* v, int64_t length, int64_t size, float* out) {
  F mixed[kVectors];
  for (int e = 0; e < kVectors; ++e) mixed[e] = load(out + e * kLanes);
  for (int64_t t = 0; t < length; ++t) {
    const T* row = v + t * size;
    for (int e = 0; e < kVectors; ++e) mixed[e] = fma(splat(p[t]), load(row + e * kLanes), mixed[e]);
  }
  for (int e = 0; e < kVectors; ++e) store(out + e * kLanes, mixed[e]);
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

template <class T>
void decode_attention(const T* q, const T* k, const T* v, int64_t queries, int64_t length, int64_t size, float scale,
                      float* scratch, T* out) {
  constexpr int64_t kRows = 64;  // cached rows at a time: they stay in L1 for all queries
  constexpr int64_t kLargestHead = 1024;
  float* scores = scratch;
  float wide[kLargestHead], mixed[kLargestHead];
  std::fill_n(scores, queries * length, 0.0f);
  for (int64_t t = 0; t < length; t += kRows) {
    const int64_t rows = std::min(kRows, length - t);
    for (int64_t h = 0; h < queries; ++h) {
      for (int64_t e = 0; e < size; e += kLanes) store(wide + e, load(q + h * size + e));
      int64_t e = 0;
      for (; e + 64 <= size; e += 64) add_scores<4>(wide + e, k + t * size + e, rows, size, scores + h * length + t);
      for (; e < size; e += 16) add_scores<1>(wide + e, k + t * size + e, rows, size, scores + h * length + t);
    }
  }
  for (int64_t h = 0; h < queries; ++h) {
    const float total = softmax_numerators(scores + h * length, length, scale);
    std::fill_n(mixed, size, 0.0f);
    int64_t e = 0;
    for (; e + 64 <= size; e += 64) mix_values<4>(scores + h * length, v + e, length, size, mixed + e);
    for (; e < size; e += 16) mix_values<1>(scores + h * length, v + e, length, size, mixed + e);
    for (e = 0; e < size; e += kLanes) store(out + h * size + e, load(mixed + e) / total);
  }
}
