// Codes of a layer as blocks of ggml. A block stores steps k = q - z times its scale, so a type fits a format when it
// holds all steps that the format can make.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "rqat/quant/format.h"

namespace rqat::exporting {

struct BlockType {
  const char* name;     ///< "Q4_0"
  uint32_t id;          ///< ggml type
  int64_t file_type;    ///< general.file_type of a file made of these blocks for the most part
  int64_t values;       ///< weights of a block
  int64_t bytes;        ///< of a block
  int64_t low, high;    ///< steps that a block holds
  bool stores_minimum;  ///< keeps -s * z beside s, as a float16 that is rounded
  void (*encode)(const uint8_t* codes, int zero_point, float scale, uint8_t* block);
};

/// Q4_0, Q4_1, Q5_0, Q8_0, Q2_0, TQ2_0, Q2_K, Q3_K, Q4_K; throws std::out_of_range on another name.
const BlockType& block_type(const std::string& name);

/// Why rows of `columns` weights in this format cannot be cut into such blocks; "" = they can.
std::string block_fault(const BlockType& type, const quant::QuantFormat& format, int64_t columns);

/// Smallest and largest step q - z of a format.
std::pair<int64_t, int64_t> step_range(const quant::QuantFormat& format);

/// Bytes of the layer as blocks, uint8 [N * K / values * bytes]. codes uint8 [N, K], scale fp32 [N, G] (representable
/// in float16), zero_point uint8 [N, G].
at::Tensor encode_blocks(const BlockType& type, const at::Tensor& codes, const quant::QuantParams& params,
                         int64_t group_size);

/// ggml's own rule for Q8_0: d = amax / 127 rounded to float16, q = round(x / d). Rounds the weights. fp32 [R, C].
at::Tensor encode_q8_0(const at::Tensor& weight);

}  // namespace rqat::exporting
