// A number system: from weights to codes and back. int_affine is the only one so far; ternary, mxfp4 ... come as
// entries.
#pragma once

#include <ATen/core/Tensor.h>

#include "rqat/base/registry.h"
#include "rqat/quant/format.h"

namespace rqat::quant {

/// How scale and zero point are found from a weight.
struct SearchOptions {
  std::string method = "minmax";  ///< minmax | mse (clip search)
  int64_t grid = 100;             ///< steps of the clip search
  double max_shrink = 0.8;        ///< largest reduction of the range tried (0.8: down to 20 %)
  double power = 2.4;             ///< error |w_hat - w|^power; in (0, 4]
  at::Tensor importance;          ///< optional fp32 [K]: weights of the columns in the error
};

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  /// Group parameters for `weight` fp32 [N, K]. Zero is always representable: the range is extended to hold 0.
  /// Throws ConfigError on an unknown method or a power outside (0, 4].
  virtual QuantParams search(const at::Tensor& weight, const QuantFormat& format,
                             const SearchOptions& options) const = 0;
  /// Codes uint8 [N, K]; canonical rule of ops/quantize.h.
  virtual at::Tensor quantize(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format) const = 0;
  virtual at::Tensor dequantize(const at::Tensor& codes, const QuantParams& params, const QuantFormat& format,
                                at::ScalarType dtype) const = 0;
  /// dequantize(quantize(weight)) in one pass.
  virtual at::Tensor fake_quant(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format,
                                at::ScalarType dtype) const = 0;
};

/// Registry kind "quantizers".
const base::Registry<Quantizer>& quantizers();

}  // namespace rqat::quant
