// Loops that the compiler makes vectors of.

void decode_moments(const uint8_t* codes, float scale, const MomentBook& book, int64_t count, float* values) {
  for (int64_t i = 0; i < count; ++i) values[i] = book.values[codes[i]] * scale;
}

/// Returns the scale. `sign_bit` is 128 for the book with signs, else 0.
float encode_moments(const float* values, const MomentBook& book, int32_t sign_bit, int64_t count, uint8_t* codes) {
  const auto* bits = reinterpret_cast<const int32_t*>(values);
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, bits[i] & 0x7fffffff);
  float scale;
  std::memcpy(&scale, &largest, sizeof scale);
  const float divisor = scale > 0 ? scale : 1;
  const int32_t least_code = sign_bit == 0 ? 1 : 0;
  int32_t wide[kMomentBlock];
  for (int64_t i = 0; i < count; ++i) {
    const float share = std::fabs(values[i]) / divisor;
    int32_t share_bits;
    std::memcpy(&share_bits, &share, sizeof share_bits);
    const int32_t key = std::max((share_bits >> 16) - (MomentBook::kLeast << 7), 0);
    int32_t code = book.lowest[key];
    code += share > book.middles[code] ? 1 : 0;
    const int32_t floor = share > 0 ? least_code : 0;
    wide[i] = std::max(code, floor) | (bits[i] < 0 ? sign_bit : 0);
  }
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(wide[i]);
  return scale;
}
