// Products of bf16 rows with packed codes, with AVX-512. A run of codes becomes a vector of 32 bf16 values: looked up
// in a table of the group's values that is held in a register (2 to 4 bits), or computed (8 bits). A few rows are
// multiplied with these vectors as they come; for many, a tile of them is laid out for a library's product.
#include <algorithm>
#include <utility>

#include "cpu/packed_layout.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cmath>
#include <cstring>

// All vectors are local to forced-inline functions, so the calling convention this warning is about plays no part.
#pragma GCC diagnostic ignored "-Wpsabi"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))), \
                             apply_to = function)
#else
// GCC 12's own intrinsics trip this warning (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#endif
#endif

#define RQAT_SIMD_AVX512

namespace rqat::ops::cpu::avx512 {

#if defined(__x86_64__)
namespace {

#include "cpu/simd/vector.inl"

constexpr int kMaxBatch = 8;         // rows of x at once, whose sums fit the registers
constexpr int64_t kDepth = 2048;     // columns at once: their part of kMaxBatch rows of x stays in the first cache,
constexpr int64_t kPairsAtOnce = 4;  // with the codes and groups of so many pairs, while other rows of x pass
constexpr int64_t kRowGroups = round_up(kDepth / kRun + 1, kLanes);  // room for a row's; they are made 16 at a time

// Decoders prepare what they need of a row's groups ahead of the products, since that takes longer than the products of
// a run. Scales are normal numbers (checked when packing), so nothing is flushed to 0.
RQAT_INLINE __mmask16 first_lanes(int64_t count) { return __mmask16((1U << std::min(count, kLanes)) - 1); }
RQAT_INLINE __m512 widened(__mmask16 lanes, const uint8_t* values) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, values)));
}

template <int kBits>
struct LookupDecoder {
  static constexpr int kLowBits = kBits / 2 * 2;   // of 3, two
  static constexpr int kPieceRuns = 8 / kLowBits;  // of each row
  static constexpr int kPieceBytes = kBits == 3 ? 96 : 64;
  static constexpr int kEntries = kBits == 2 ? 4 : 16;

  // The codes' values in bf16. What lies above a code in its word takes part in the look-up, so the table is repeated,
  // within the 16 entries of 3 bits too.
  struct alignas(2 * kEntries) Group {
    uint16_t values[kEntries];
  };
  struct Piece {
    __m512i low, high;
  };

  RQAT_INLINE void prepare(const float* scale, const uint8_t* zero_point, int64_t count, Group* groups) {
    for (int64_t first = 0; first < count; first += kLanes) {
      const __mmask16 lanes = first_lanes(count - first);
      const __m512 zero_points = widened(lanes, zero_point + first);
      if constexpr (kBits == 2)
        prepare_together(_mm512_maskz_loadu_ps(lanes, scale + first), zero_points, groups + first);
      else
        prepare_each(scale + first, zero_points, std::min(count - first, kLanes), groups + first);
    }
  }
  RQAT_INLINE Piece load(const uint8_t* bytes) {
    Piece piece{_mm512_loadu_si512(bytes), _mm512_setzero_si512()};
    if constexpr (kBits == 3)
      piece.high = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 64)));
    return piece;
  }
  template <int kRunOfPiece>
  RQAT_INLINE __m512bh values(const Piece& piece, const Group& group) {
    __m512i index = _mm512_srli_epi16(piece.low, kRunOfPiece * kLowBits);
    if constexpr (kBits == 3) {
      const __m512i high = kRunOfPiece < 2 ? _mm512_slli_epi16(piece.high, kRunOfPiece < 2 ? 2 - kRunOfPiece : 0)
                                           : _mm512_srli_epi16(piece.high, kRunOfPiece < 2 ? 0 : kRunOfPiece - 2);
      index = _mm512_ternarylogic_epi32(index, high, _mm512_set1_epi16(3), 0xE4);  // mask ? index : high
    }
    return (__m512bh)_mm512_permutexvar_epi16(index, table(group));
  }

 private:
  RQAT_INLINE __m512i table(const Group& group) {
    if constexpr (kBits == 2) {
      int64_t values;
      std::memcpy(&values, group.values, sizeof values);
      return _mm512_set1_epi64(values);
    } else {
      return _mm512_broadcast_i64x4(_mm256_load_si256(reinterpret_cast<const __m256i*>(group.values)));
    }
  }
  // One code's values of 16 groups at once.
  RQAT_INLINE void prepare_together(__m512 scales, __m512 zero_points, Group* groups) {
    __m512 values[4];
    for (int code = 0; code < 4; ++code)
      values[code] = _mm512_mul_ps(scales, _mm512_sub_ps(_mm512_set1_ps(float(code)), zero_points));
    const auto codes_01 = (__m512i)_mm512_cvtne2ps_pbh(values[1], values[0]);
    const auto codes_23 = (__m512i)_mm512_cvtne2ps_pbh(values[3], values[2]);
    // Word 4 g + c of the result is word 16 (c % 2) + g of the vector that has code c.
    const __m512i first = _mm512_set_epi16(55, 39, 23, 7, 54, 38, 22, 6, 53, 37, 21, 5, 52, 36, 20, 4, 51, 35, 19, 3,
                                           50, 34, 18, 2, 49, 33, 17, 1, 48, 32, 16, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(8));
    _mm512_storeu_si512(groups, _mm512_permutex2var_epi16(codes_01, first, codes_23));
    _mm512_storeu_si512(groups + 8, _mm512_permutex2var_epi16(codes_01, second, codes_23));
  }
  RQAT_INLINE void prepare_each(const float* scale, __m512 zero_points, int64_t count, Group* groups) {
    const __m512i entries = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512 codes = _mm512_cvtepi32_ps(_mm512_and_si512(entries, _mm512_set1_epi32((1 << kBits) - 1)));
    alignas(64) float zero_point[kLanes];
    _mm512_store_ps(zero_point, zero_points);
    for (int64_t i = 0; i < count; ++i) {
      const __m512 values =
          _mm512_mul_ps(_mm512_set1_ps(scale[i]), _mm512_sub_ps(codes, _mm512_set1_ps(zero_point[i])));
      _mm256_store_si256(reinterpret_cast<__m256i*>(groups[i].values), (__m256i)_mm512_cvtneps_pbh(values));
    }
  }
};

struct ArithmeticDecoder {
  static constexpr int kPieceRuns = 1, kPieceBytes = 64;

  struct Group {
    float scale, zero_point;
  };
  using Piece = __m512i;

  RQAT_INLINE void prepare(const float* scale, const uint8_t* zero_point, int64_t count, Group* groups) {
    for (int64_t i = 0; i < count; ++i) groups[i] = {scale[i], float(zero_point[i])};
  }
  RQAT_INLINE Piece load(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
  RQAT_INLINE __m512 half(__m256i codes, const Group& group) {
    const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(codes));
    return _mm512_mul_ps(_mm512_set1_ps(group.scale), _mm512_sub_ps(values, _mm512_set1_ps(group.zero_point)));
  }
  template <int kRunOfPiece>
  RQAT_INLINE __m512bh values(const Piece& piece, const Group& group) {
    const __m512i codes =
        kRunOfPiece == 0 ? _mm512_and_si512(piece, _mm512_set1_epi16(0xFF)) : _mm512_srli_epi16(piece, 8);
    return _mm512_cvtne2ps_pbh(half(_mm512_extracti64x4_epi64(codes, 1), group),
                               half(_mm512_castsi512_si256(codes), group));
  }
};

template <class Function, int... kIndex>
RQAT_INLINE void unrolled(std::integer_sequence<int, kIndex...>, const Function& function) {
  (function(std::integral_constant<int, kIndex>()), ...);
}

// Lane i of the result is the sum of the lanes of vector i.
RQAT_INLINE __m512 sums_of_lanes(const __m512* vectors) {
  __m512 fours[4];
  for (int i = 0; i < 4; ++i) {
    const __m512* v = vectors + 4 * i;
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
  }
  __m512 eights[2];
  for (int i = 0; i < 2; ++i)
    eights[i] = _mm512_add_ps(_mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0x88),
                              _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0xDD));
  return _mm512_add_ps(_mm512_shuffle_f32x4(eights[0], eights[1], 0x88),
                       _mm512_shuffle_f32x4(eights[0], eights[1], 0xDD));
}

// Columns [begin, end) of a row pair.
template <class Decoder>
struct PairPart {
  const uint8_t* bytes;
  const typename Decoder::Group* groups;  // of the first row; those of the second are kRowGroups further
  int64_t runs;
  int64_t first_group_runs, group_runs;  // how many runs the first group and the others hold
};

template <class Decoder, int kBatch>
void dot_pair(const PairPart<Decoder>& part, const uint16_t* x, int64_t ld_x, bool add, float* out, int64_t ld_out) {
  constexpr int kVectors = (2 * kBatch + 15) / 16 * 16, kRuns = Decoder::kPieceRuns;
  __m512 sums[kVectors];
  for (int i = 0; i < kVectors; ++i) sums[i] = _mm512_setzero_ps();
  const auto* group = part.groups;
  int64_t left = part.first_group_runs;  // runs of this group
  const uint8_t *bytes = part.bytes, *last_bytes = bytes + (part.runs - 1) / kRuns * Decoder::kPieceBytes;
  auto piece = Decoder::load(bytes);
  __m512bh first_row = Decoder::template values<0>(piece, group[0]);
  __m512bh second_row = Decoder::template values<1>(piece, group[kRowGroups]);
  for (int64_t run = 0; run < part.runs; run += kRuns) {
    unrolled(
        std::make_integer_sequence<int, kRuns>(), [&](auto index) __attribute__((always_inline)) {
          constexpr int kIndex = decltype(index)::value, kNext = (kIndex + 1) % kRuns;
          if (run + kIndex >= part.runs) return;
          const __m512bh first = first_row, second = second_row;
          // The next values are on their way while these are multiplied; behind the last run they are not used.
          if (--left == 0) {
            left = part.group_runs;
            ++group;
          }
          if constexpr (kNext == 0) {
            bytes = bytes < last_bytes ? bytes + Decoder::kPieceBytes : bytes;
            piece = Decoder::load(bytes);
          }
          first_row = Decoder::template values<2 * kNext>(piece, group[0]);
          second_row = Decoder::template values<2 * kNext + 1>(piece, group[kRowGroups]);
          for (int m = 0; m < kBatch; ++m) {
            const auto inputs = (__m512bh)_mm512_loadu_si512(x + m * ld_x + (run + kIndex) * kRun);
            sums[2 * m] = _mm512_dpbf16_ps(sums[2 * m], first, inputs);
            sums[2 * m + 1] = _mm512_dpbf16_ps(sums[2 * m + 1], second, inputs);
          }
        });
  }
  for (int i = 0; i < kVectors; i += 16) {
    alignas(64) float lanes[16];
    _mm512_store_ps(lanes, sums_of_lanes(sums + i));
    for (int m = 0; m < 8 && i / 2 + m < kBatch; ++m)
      for (int row = 0; row < 2; ++row) {
        float& sum = out[(i / 2 + m) * ld_out + row];
        sum = add ? sum + lanes[2 * m + row] : lanes[2 * m + row];
      }
  }
}

template <class Decoder, int... kBatch>
RQAT_INLINE void dot_batch(std::integer_sequence<int, kBatch...>, const PairPart<Decoder>& part, int64_t batch,
                           const uint16_t* x, int64_t ld_x, bool add, float* out, int64_t ld_out) {
  ((batch == kBatch + 1 ? dot_pair<Decoder, kBatch + 1>(part, x, ld_x, add, out, ld_out) : void()), ...);
}

template <class Decoder>
PairPart<Decoder> prepare_part(const PackedView& weight, int64_t pair, int64_t first_run, int64_t last_run,
                               typename Decoder::Group* groups) {
  const int64_t group_runs = weight.groups == 1 ? weight.runs() : weight.group_size / kRun;
  const int64_t begin = first_run / group_runs, end = divide_up(last_run, group_runs);
  const int64_t rows[] = {2 * pair, 2 * pair + 1 < weight.rows ? 2 * pair + 1 : 2 * pair};
  for (int row = 0; row < 2; ++row) {
    const int64_t offset = rows[row] * weight.groups + begin;
    Decoder::prepare(weight.scale + offset, weight.zero_point + offset, end - begin, groups + row * kRowGroups);
  }
  return {weight.codes + pair * weight.pair_bytes() + first_run / Decoder::kPieceRuns * Decoder::kPieceBytes, groups,
          last_run - first_run, (begin + 1) * group_runs - first_run, group_runs};
}

RQAT_INLINE void prefetch(const void* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(static_cast<const char*>(data) + i, _MM_HINT_T0);
}

// Weights of a decoding step come from memory: those of the next pairs are fetched while these are multiplied.
void prefetch_pairs(const PackedView& weight, int64_t first_pair, int64_t last_pair) {
  if (first_pair >= last_pair) return;
  const int64_t row = 2 * first_pair, parameters = (std::min(2 * last_pair, weight.rows) - row) * weight.groups;
  prefetch(weight.codes + first_pair * weight.pair_bytes(), (last_pair - first_pair) * weight.pair_bytes());
  prefetch(weight.scale + row * weight.groups, parameters * int64_t(sizeof(float)));
  prefetch(weight.zero_point + row * weight.groups, parameters);
}

template <class Decoder>
void dot_all(const PackedView& weight, int64_t first_pair, int64_t last_pair, const uint16_t* x, int64_t ld_x,
             int64_t batch, float* sums, int64_t ld_sums) {
  typename Decoder::Group groups[kPairsAtOnce][2 * kRowGroups];
  PairPart<Decoder> parts[kPairsAtOnce];
  const int64_t passes = divide_up(batch, kMaxBatch);
  for (int64_t column = 0; column < weight.columns; column += kDepth) {
    const int64_t first_run = column / kRun, last_run = std::min(first_run + kDepth / kRun, weight.runs());
    for (int64_t begin = first_pair; begin < last_pair; begin += kPairsAtOnce) {
      const int64_t end = std::min(begin + kPairsAtOnce, last_pair), count = end - begin;
      if (column == 0) prefetch_pairs(weight, end, std::min(end + kPairsAtOnce, last_pair));
      for (int64_t i = 0; i < count; ++i)
        parts[i] = prepare_part<Decoder>(weight, begin + i, first_run, last_run, groups[i]);
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t row = batch * pass / passes, rows = batch * (pass + 1) / passes - row;
        for (int64_t i = 0; i < count; ++i)
          dot_batch(std::make_integer_sequence<int, kMaxBatch>(), parts[i], rows, x + row * ld_x + column, ld_x,
                    column > 0, sums + row * ld_sums + 2 * (begin + i - first_pair), ld_sums);
      }
    }
  }
}

// 16 rows, each run transposed so that neighbouring rows lie side by side.
template <class Decoder>
void lay_out(const PackedView& weight, int64_t first_pair, int64_t last_pair, int64_t width, uint16_t* tile) {
  constexpr int64_t kPairs = kLanes / 2;
  typename Decoder::Group groups[kPairs][2 * kRowGroups];
  PairPart<Decoder> parts[kPairs];
  for (int64_t column = 0; column < weight.columns; column += kDepth) {
    const int64_t first_run = column / kRun, last_run = std::min(first_run + kDepth / kRun, weight.runs());
    for (int64_t i = 0; i < kPairs; ++i)  // rows beyond the last repeat it
      parts[i] = prepare_part<Decoder>(weight, std::min(first_pair + i, last_pair - 1), first_run, last_run, groups[i]);
    int64_t group = 0, left = parts[0].first_group_runs;
    uint16_t* out = tile + first_run * kRun * width;
    for (int64_t run = 0; run < last_run - first_run; run += Decoder::kPieceRuns) {
      const int64_t offset = run / Decoder::kPieceRuns * Decoder::kPieceBytes;
      unrolled(
          std::make_integer_sequence<int, Decoder::kPieceRuns>(), [&](auto index) __attribute__((always_inline)) {
            constexpr int kIndex = decltype(index)::value;
            if (run + kIndex >= last_run - first_run) return;
            U rows[kLanes];
            for (int64_t i = 0; i < kPairs; ++i) {
              const auto piece = Decoder::load(parts[i].bytes + offset);
              rows[2 * i] = (U)Decoder::template values<2 * kIndex>(piece, parts[i].groups[group]);
              rows[2 * i + 1] = (U)Decoder::template values<2 * kIndex + 1>(piece, parts[i].groups[group + kRowGroups]);
            }
            transpose16(rows);
            for (int64_t i = 0; i < kLanes; ++i) memcpy(out + 2 * i * width, rows + i, sizeof rows[i]);
            out += kRun * width;
            if (--left == 0) {
              left = parts[0].group_runs;
              ++group;
            }
          });
    }
  }
}

}  // namespace

void dot_pairs(const PackedView& weight, int64_t first_pair, int64_t last_pair, const uint16_t* x, int64_t ld_x,
               int64_t batch, float* sums, int64_t ld_sums) {
  switch (weight.num_bits) {
    case 2:
      return dot_all<LookupDecoder<2>>(weight, first_pair, last_pair, x, ld_x, batch, sums, ld_sums);
    case 3:
      return dot_all<LookupDecoder<3>>(weight, first_pair, last_pair, x, ld_x, batch, sums, ld_sums);
    case 4:
      return dot_all<LookupDecoder<4>>(weight, first_pair, last_pair, x, ld_x, batch, sums, ld_sums);
    default:
      return dot_all<ArithmeticDecoder>(weight, first_pair, last_pair, x, ld_x, batch, sums, ld_sums);
  }
}

void lay_out_tile(const PackedView& weight, int64_t first_pair, int64_t last_pair, int64_t width, uint16_t* tile) {
  for (int64_t pair = first_pair; pair < last_pair; pair += kLanes / 2, tile += 2 * kLanes) {
    const int64_t end = std::min(pair + kLanes / 2, last_pair);
    switch (weight.num_bits) {
      case 2:
        lay_out<LookupDecoder<2>>(weight, pair, end, width, tile);
        break;
      case 3:
        lay_out<LookupDecoder<3>>(weight, pair, end, width, tile);
        break;
      case 4:
        lay_out<LookupDecoder<4>>(weight, pair, end, width, tile);
        break;
      default:
        lay_out<ArithmeticDecoder>(weight, pair, end, width, tile);
    }
  }
}

void store_sums(const float* sums, int64_t ld_sums, int64_t batch, int64_t count, const float* bias, uint16_t* out,
                int64_t ld_out) {
  for (int64_t m = 0; m < batch; ++m) {
    for (int64_t n = 0; n < count; n += kLanes) {
      const int64_t left = std::min(count - n, kLanes);
      const F sum = load(sums + m * ld_sums + n);  // ld_sums is a multiple of 16
      const F value = bias == nullptr ? sum : sum + (left == kLanes ? load(bias + n) : load_part(bias + n, left));
      uint16_t* to = out + m * ld_out + n;
      left == kLanes ? store(to, value) : store_part(to, left, value);
    }
  }
}

#else

void lay_out_tile(const PackedView&, int64_t, int64_t, int64_t, uint16_t*) { __builtin_trap(); }
void dot_pairs(const PackedView&, int64_t, int64_t, const uint16_t*, int64_t, int64_t, float*, int64_t) {
  __builtin_trap();
}
void store_sums(const float*, int64_t, int64_t, int64_t, const float*, uint16_t*, int64_t) { __builtin_trap(); }

#endif

}  // namespace rqat::ops::cpu::avx512

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
