// Angles of the rotary embedding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace rqat::nn {

enum class RopeScaling {
  kNone,
  kLinear,    ///< all frequencies / factor
  kLlama3,    ///< low frequencies / factor, high ones kept, a linear blend between (Llama 3.1)
  kYarn,      ///< blend of kept and divided frequencies by dimension (2309.00071)
  kLongRope,  ///< a divisor per dimension, one set for short and one for long sequences (2402.13753)
};

/// How positions become angles. Lengths in tokens.
struct RopeParameters {
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000;
  double rotated_part = 1;      ///< the first int(head_dim * rotated_part) dimensions turn, the others stay as they are
  double factor = 0;            ///< of length; 0 = context length / original length (yarn, longrope)
  int64_t original_length = 0;  ///< what the model was trained with before scaling
  double low_frequency_factor = 1, high_frequency_factor = 4;  ///< llama3
  double beta_fast = 32, beta_slow = 1;                        ///< yarn: turns in original_length that end the blend
  double mscale = 0, mscale_all_dim = 0;                       ///< yarn; 0 = not given
  bool truncate = true;                                        ///< yarn: ends of the blend are whole dimensions
  double attention_factor = 0;  ///< cos and sin are multiplied by it; 0 = by the method's own rule
  std::vector<double> short_factor{}, long_factor{};  ///< longrope, one per pair of dimensions
};

/// Frequencies of one kind of layer. R = rotated dimensions.
struct RopeFrequencies {
  at::Tensor inverse;       ///< fp32 [R/2]
  at::Tensor long_inverse;  ///< longrope: those of sequences longer than original_length; else undefined
  int64_t original_length = 0;
  double attention_factor = 1;
};

/// Frequencies of `parameters`, computed in fp32 as transformers does: positions in the thousands multiply any
/// difference. `context_length` = max_position_embeddings. Throws ConfigError when the numbers of factors do not fit.
RopeFrequencies rope_frequencies(const RopeParameters& parameters, int64_t head_dim, int64_t context_length,
                                 at::Device device);

/// (cos, sin) fp32 [T, R/2] of positions int64 [T]. `is_long` bool [T] picks long_inverse; undefined = nowhere.
std::pair<at::Tensor, at::Tensor> rope_tables(const at::Tensor& positions, const RopeFrequencies& frequencies,
                                              const at::Tensor& is_long = {});

}  // namespace rqat::nn
