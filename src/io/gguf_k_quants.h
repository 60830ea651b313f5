// ggml's types with blocks of 256 weights, dequantised one block at a time.
#pragma once

#include <cstdint>

namespace rqat::io {

void dequantize_q2_k(const uint8_t* source, float* target);
void dequantize_q3_k(const uint8_t* source, float* target);
void dequantize_q4_k(const uint8_t* source, float* target);
void dequantize_q5_k(const uint8_t* source, float* target);
void dequantize_q6_k(const uint8_t* source, float* target);
void dequantize_tq2_0(const uint8_t* source, float* target);

}  // namespace rqat::io
