// Fused CPU kernels of the dense ops. The row kernels are compiled once per instruction level from the same sources
// (cpu/simd/*.inl) with 16-lane vectors; reductions always go through the same 16 partial sums, and the drivers below
// split work at fixed places, so results do not depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>

#include "moment_code.h"
#include "rqat/ops/cpu.h"
#include "rqat/ops/loss.h"
#include "rqat/ops/optimizer.h"
#include "rqat/ops/transformer.h"

namespace rqat::ops::cpu {

struct AdamwFactors {
  float grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, eps, decay, step_size, inverse_second_correction;
};

/// log-sum-exp of a row of logits / temperature, and its entropy in nats.
struct RowStatistics {
  float maximum, log_sum, entropy;  ///< log-sum-exp = maximum + log_sum: kept apart, since logits may be huge
};

/// Row kernels over elements of type T: uint16_t holds bfloat16 bits.
template <class T>
struct PointwiseKernels {
  float (*rms_norm)(const T* x, const T* weight, float eps, const NormStyle& style, int64_t size, T* y);
  void (*rms_norm_backward)(const T* dy, const T* x, const T* weight, float rstd, const NormStyle& style, int64_t size,
                            T* dx, float* weight_grad);
  void (*rope)(const T* x, const float* cos, const float* sin, float sign, int64_t heads, int64_t half, T* y);
  void (*silu_mul)(const T* gate, const T* up, int64_t count, T* y);
  void (*silu_mul_backward)(const T* dy, const T* gate, const T* up, int64_t count, T* dgate, T* dup);
  /// `queries` query heads of one key/value head against `length` cached rows; scratch [min(queries, 4) * length] fp32.
  void (*decode_attention)(const T* q, const T* k, const T* v, int64_t queries, int64_t length, int64_t size,
                           float scale, float softcap, float* scratch, T* out);
  double (*sum_of_squares)(const T* x, int64_t count);
};

struct LossKernels {
  RowStatistics (*statistics)(const float* logits, int64_t count, float inverse_temperature);
  /// logits := factor * softmax(logits * inverse_temperature).
  void (*scaled_softmax)(float* logits, int64_t count, float inverse_temperature, const RowStatistics& row,
                         float factor);
  /// Divergence at temperature 1 of z / T; writes factor * dL/dz over student when `want_grad`.
  float (*divergence)(float* student, float* teacher, int64_t count, float inverse_temperature,
                      const RowStatistics& student_row, const RowStatistics& teacher_row, float beta, float factor,
                      bool want_grad);
};

/// A block of attention scores [keys][64], one column per query: key first_key + r is visible to query c when
/// first_limit + c - window < first_key + r <= first_limit + c. keys and columns are multiples of 16.
struct ScoreBlock {
  int64_t keys, columns;
  int64_t first_key, first_limit, window;
  float scale, softcap;  ///< softcap 0 = none
  bool masked;           ///< whether some key of the block is hidden from some query
};

/// Vector steps of the blocked attention.
struct AttentionKernels {
  /// Scales and caps the scores in place, hides what is not visible and raises row_max[64] to the block's maxima.
  void (*scale_and_mask)(const ScoreBlock& block, float* scores, float* row_max);
  /// exp(scores - row_max) as bf16 pairs of keys [keys/2][64][2]; adds the sums to row_sum[64].
  void (*exponentiate)(const ScoreBlock& block, const float* scores, const float* row_max, float* row_sum,
                       uint16_t* pairs);
  /// p = exp(s - lse) with s = cap(scale * scores), ds = p (dp - delta) cap' scale; both bf16 [keys][64], ds also as
  /// pairs of keys.
  void (*backward_scores)(const ScoreBlock& block, const float* scores, const float* dp, const float* lse,
                          const float* delta, uint16_t* p, uint16_t* ds, uint16_t* ds_pairs);
  /// out[query][e] = bf16(in[e][query] * factor[query]) for in [size][64].
  void (*transpose_out)(const float* in, int64_t size, int64_t queries, const float* factor, uint16_t* out,
                        int64_t out_stride);
  float (*dot)(const uint16_t* a, const uint16_t* b, int64_t size);
};

/// A matrix of bf16 to lay out anew; whatever lies beyond it reads as 0.
struct PackSource {
  const uint16_t* data;
  int64_t stride, rows, columns;
};

/// Layouts for brgemm. Output widths are multiples of 16 (rows_out of `transpose`: of 32).
struct PackKernels {
  void (*pair_rows)(const PackSource& in, int64_t pairs, int64_t columns_out, uint16_t* out);  ///< [pairs][columns][2]
  void (*pair_columns)(const PackSource& in, int64_t pairs, int64_t rows_out, uint16_t* out);  ///< [pairs][rows][2]
  void (*transpose)(const PackSource& in, int64_t columns_out, int64_t rows_out, uint16_t* out);
  void (*round_row)(const float* in, int64_t count, uint16_t* out);
};

/// A block of at most kMomentBlock values; encode returns its scale. `sign_bit` is 128 for the book with signs, else 0.
struct MomentKernels {
  void (*decode)(const uint8_t* codes, float scale, const MomentBook& book, int64_t count, float* values);
  float (*encode)(const float* values, const MomentBook& book, int32_t sign_bit, int64_t count, uint8_t* codes);
};

struct DenseKernels {
  PointwiseKernels<uint16_t> bf16;
  PointwiseKernels<float> fp32;
  LossKernels loss;
  AttentionKernels attention;
  PackKernels pack;
  void (*adamw)(float* parameter, const float* grad, float* first_moment, float* second_moment, int64_t count,
                const AdamwFactors& factors);
  MomentKernels moments;
};

const DenseKernels& dense_kernels_avx2();
const DenseKernels& dense_kernels_avx512();
/// The kernels of this machine's level, or null when a tensor is not a contiguous CPU tensor or the level is portable.
const DenseKernels* dense_kernels_for(std::initializer_list<at::Tensor> tensors);

RowLoss cross_entropy_rows(const DenseKernels& kernels, at::Tensor& logits, const at::Tensor& targets,
                           const at::Tensor& row_weight, bool want_grad);
RowLoss divergence_rows(const DenseKernels& kernels, at::Tensor& student, at::Tensor& teacher,
                        const at::Tensor& row_weight, double beta, double temperature, bool want_grad);
RowLogProb log_prob_rows(const DenseKernels& kernels, const at::Tensor& logits, const at::Tensor& targets,
                         double temperature);
void log_prob_rows_backward(const DenseKernels& kernels, at::Tensor& logits, const at::Tensor& targets,
                            const at::Tensor& coefficient, double temperature);

void adamw_step(const DenseKernels& kernels, at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment,
                at::Tensor& second_moment, const AdamwFactors& factors);
void adamw_8bit_step(const DenseKernels& kernels, at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments,
                     const AdamwFactors& factors);
double sum_of_squares(const DenseKernels& kernels, const at::Tensor& tensor);

std::pair<at::Tensor, at::Tensor> rms_norm(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
                                           double eps, const NormStyle& style);
at::Tensor rms_norm_backward(const DenseKernels& kernels, const at::Tensor& dy, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& rstd, at::Tensor& weight_grad,
                             const NormStyle& style);
at::Tensor rope(const DenseKernels& kernels, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                bool inverse);
at::Tensor silu_mul(const DenseKernels& kernels, const at::Tensor& gate, const at::Tensor& up);
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const DenseKernels& kernels, const at::Tensor& dy,
                                                    const at::Tensor& gate, const at::Tensor& up);

/// bf16 only, head size a multiple of 16, with bf16 brgemm.
std::pair<at::Tensor, at::Tensor> segment_attention(const DenseKernels& kernels, const at::Tensor& q,
                                                    const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options);
AttentionGradients segment_attention_backward(const DenseKernels& kernels, const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                              const at::Tensor& logsumexp, const std::vector<Segment>& segments,
                                              const AttentionOptions& options);
at::Tensor decode_attention(const DenseKernels& kernels, const at::Tensor& q, const at::Tensor& k_cache,
                            const at::Tensor& v_cache, const std::vector<int64_t>& slots,
                            const std::vector<int64_t>& lengths, const AttentionOptions& options);

}  // namespace rqat::ops::cpu
