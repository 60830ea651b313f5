// Vector steps of the blocked attention: blocks are [keys][kColumns], one column per query.
constexpr int64_t kColumns = 64;

RQAT_INLINE F hide_invisible(F score, const ScoreBlock& block, int64_t row, int64_t column) {
  const I limit = lane_index() + static_cast<int32_t>(block.first_limit + column);
  const auto key = static_cast<int32_t>(block.first_key + row);
  score = limit < key ? splat(-INFINITY) : score;
  if (block.window == 0) return score;
  return limit >= key + static_cast<int32_t>(block.window) ? splat(-INFINITY) : score;
}

void scale_and_mask(const ScoreBlock& block, float* scores, float* row_max) {
  for (int64_t c = 0; c < block.columns; c += kLanes) {
    F top = load(row_max + c);
    for (int64_t r = 0; r < block.keys; ++r) {
      F score = load(scores + r * kColumns + c) * block.scale;
      if (block.softcap > 0) score = cap_ratio(score, block.softcap) * block.softcap;
      if (block.masked) score = hide_invisible(score, block, r, c);
      top = at_least(score, top);
      store(scores + r * kColumns + c, score);
    }
    store(row_max + c, top);
  }
}

// Two rows of bf16 as one row of pairs.
RQAT_INLINE void store_pairs(uint16_t* out, F even, F odd) {
  const U pairs = (rounded_bits(even) >> 16) | (rounded_bits(odd) & 0xffff0000u);
  memcpy(out, &pairs, sizeof(pairs));
}

void exponentiate(const ScoreBlock& block, const float* scores, const float* row_max, float* row_sum, uint16_t* pairs) {
  for (int64_t c = 0; c < block.columns; c += kLanes) {
    const F shift = load(row_max + c);
    F total = load(row_sum + c);
    for (int64_t r = 0; r < block.keys; r += 2) {
      const F even = exponential(load(scores + r * kColumns + c) - shift);
      const F odd = exponential(load(scores + (r + 1) * kColumns + c) - shift);
      total += even + odd;
      store_pairs(pairs + r * kColumns + 2 * c, even, odd);
    }
    store(row_sum + c, total);
  }
}

void backward_scores(const ScoreBlock& block, const float* scores, const float* dp, const float* lse,
                     const float* delta, uint16_t* p, uint16_t* ds, uint16_t* ds_pairs) {
  for (int64_t c = 0; c < block.columns; c += kLanes) {
    const F shift = load(lse + c), mean = load(delta + c);
    const auto one = [&](int64_t r) __attribute__((always_inline)) {
      F score = load(scores + r * kColumns + c) * block.scale, slope = splat(block.scale);
      if (block.softcap > 0) {
        const F ratio = cap_ratio(score, block.softcap);
        score = ratio * block.softcap;
        slope = slope * (1.0f - ratio * ratio);
      }
      if (block.masked) score = hide_invisible(score, block, r, c);
      const F probability = exponential(score - shift);
      const F gradient = probability * (load(dp + r * kColumns + c) - mean) * slope;
      store(p + r * kColumns + c, probability);
      store(ds + r * kColumns + c, gradient);
      return gradient;
    };
    for (int64_t r = 0; r < block.keys; r += 2) {
      const F even = one(r), odd = one(r + 1);
      store_pairs(ds_pairs + r * kColumns + 2 * c, even, odd);
    }
  }
}

void transpose_out(const float* in, int64_t size, int64_t queries, const float* factor, uint16_t* out,
                   int64_t out_stride) {
  for (int64_t c = 0; c < queries; c += kLanes) {
    const F scale = load(factor + c);
    for (int64_t r = 0; r < size; r += kLanes) {
      U tile[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) tile[i] = as_bits(load(in + (r + i) * kColumns + c) * scale);
      transpose16(tile);
      const int64_t count = std::min(kLanes, queries - c);
      for (int64_t i = 0; i < count; ++i) store(out + (c + i) * out_stride + r, as_float(tile[i]));
    }
  }
}

float dot(const uint16_t* a, const uint16_t* b, int64_t size) {
  F products{};
  for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    products = fma(load_some(a + i, n), load_some(b + i, n), products);
  });
  return sum(products);
}

// ---- layouts for brgemm -------------------------------------------------------------------------------------------

RQAT_INLINE U load_row(const uint16_t* in, int64_t count) {
  H bits{};
  if (count >= kLanes) {
    memcpy(&bits, in, sizeof(bits));
  } else {
    for (int64_t i = 0; i < count; ++i) bits[i] = in[i];
  }
  return __builtin_convertvector(bits, U);
}

RQAT_INLINE U load_pairs(const uint16_t* in, int64_t count) {
  U pairs{};
  if (count >= 2 * kLanes) {
    memcpy(&pairs, in, sizeof(pairs));
  } else if (count > 0) {
    uint16_t buffer[2 * kLanes] = {};
    memcpy(buffer, in, sizeof(uint16_t) * count);
    memcpy(&pairs, buffer, sizeof(pairs));
  }
  return pairs;
}

RQAT_INLINE U load_two_rows(const PackSource& in, int64_t row, int64_t column) {
  const uint16_t* p = in.data + row * in.stride + column;
  const U even = row < in.rows ? load_row(p, in.columns - column) : U{};
  const U odd = row + 1 < in.rows ? load_row(p + in.stride, in.columns - column) : U{};
  return even | (odd << 16);
}

void pair_rows(const PackSource& in, int64_t pairs, int64_t columns_out, uint16_t* out) {
  for (int64_t r = 0; r < pairs; ++r) {
    for (int64_t c = 0; c < columns_out; c += kLanes) {
      const U x = load_two_rows(in, 2 * r, c);
      memcpy(out + (r * columns_out + c) * 2, &x, sizeof(x));
    }
  }
}

void pair_columns(const PackSource& in, int64_t pairs, int64_t rows_out, uint16_t* out) {
  for (int64_t r = 0; r < rows_out; r += kLanes) {
    for (int64_t c = 0; c < pairs; c += kLanes) {
      U tile[kLanes];
      for (int64_t i = 0; i < kLanes; ++i)
        tile[i] = r + i < in.rows ? load_pairs(in.data + (r + i) * in.stride + 2 * c, in.columns - 2 * c) : U{};
      transpose16(tile);
      const int64_t count = std::min(kLanes, pairs - c);
      for (int64_t i = 0; i < count; ++i) memcpy(out + ((c + i) * rows_out + r) * 2, &tile[i], sizeof(U));
    }
  }
}

void transpose_rows(const PackSource& in, int64_t columns_out, int64_t rows_out, uint16_t* out) {
  for (int64_t r = 0; r < rows_out; r += 2 * kLanes) {
    for (int64_t c = 0; c < columns_out; c += kLanes) {
      U tile[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) tile[i] = load_two_rows(in, r + 2 * i, c);
      transpose16(tile);
      for (int64_t i = 0; i < kLanes; ++i) memcpy(out + (c + i) * rows_out + r, &tile[i], sizeof(U));
    }
  }
}

void round_row(const float* in, int64_t count, uint16_t* out) {
  for_vectors(count, [&](int64_t i, int64_t n)
                         __attribute__((always_inline)) { store_some(out + i, n, load_some(in + i, n)); });
}
