// Every dense op as a composition of ATen operators: the path of devices without a fused kernel and of
// RQAT_KERNELS=portable, and the oracle of the fused kernels' tests. Signatures and meaning as in include/rqat/ops;
// arguments are checked by the callers.
#pragma once

#include "rqat/ops/loss.h"
#include "rqat/ops/optimizer.h"
#include "rqat/ops/transformer.h"

namespace rqat::ops::composed {

at::Tensor matmul_nt_float(const at::Tensor& x, const at::Tensor& weight);
void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b);

std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                           const NormStyle& style = {});
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, at::Tensor& weight_grad, const NormStyle& style = {});
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up);

/// `options.scale` is given.
std::pair<at::Tensor, at::Tensor> segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                    const std::vector<Segment>& segments,
                                                    const AttentionOptions& options);
AttentionGradients segment_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                              const at::Tensor& v, const at::Tensor& out, const at::Tensor& logsumexp,
                                              const std::vector<Segment>& segments, const AttentionOptions& options);
at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            const AttentionOptions& options);

RowLoss cross_entropy_rows(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& row_weight, bool want_grad);
RowLoss divergence_rows(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& row_weight, double beta,
                        double temperature, bool want_grad);
RowLogProb log_prob_rows(const at::Tensor& logits, const at::Tensor& targets, double temperature);
void log_prob_rows_backward(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& coefficient,
                            double temperature);

void adamw_step(at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment, at::Tensor& second_moment,
                double learning_rate, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                double grad_scale);
void adamw_8bit_step(at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments, double learning_rate,
                     double beta1, double beta2, double eps, double weight_decay, int64_t step, double grad_scale);
double sum_of_squares(const at::Tensor& tensor);

}  // namespace rqat::ops::composed
