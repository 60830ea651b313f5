// What the tests of this folder share: formats, layers of known weights, exact comparisons.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::quant {

inline QuantFormat make_format(int64_t num_bits, bool symmetric, int64_t group_size,
                               const std::string& scale_dtype = "float16") {
  QuantFormat format;
  format.num_bits = num_bits;
  format.symmetric = symmetric;
  format.group_size = group_size;
  format.scale_dtype = scale_dtype;
  return format;
}

/// bits x symmetry x grouping (also a short last group and whole rows) x scale dtype, for weights of 40 columns.
inline std::vector<QuantFormat> all_formats() {
  std::vector<QuantFormat> formats;
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      for (const int64_t group : {8, 16, -1}) {
        for (const char* dtype : {"float16", "bfloat16"}) formats.push_back(make_format(bits, symmetric, group, dtype));
      }
    }
  }
  return formats;
}

/// A component with settings read from YAML text.
template <class Registry>
base::Component component(const Registry& registry, const std::string& name, const std::string& yaml = "{}") {
  base::Component chosen(name);
  chosen.config = registry.find_info(name)->make_config();
  base::Faults faults;
  base::read_config(*chosen.config, base::Node::parse(yaml, "test"), name, faults);
  faults.raise("test");
  return chosen;
}

inline std::unique_ptr<FakeQuantLinear> make_layer(const QuantFormat& format, const std::string& estimator = "ste",
                                                   const std::string& settings = "{}", int64_t in = 40,
                                                   int64_t out = 12, bool bias = false) {
  return std::make_unique<FakeQuantLinear>(nn::LinearSpec{"model.layers.0.mlp.up_proj", in, out, bias}, format,
                                           quantizers().make("int_affine"),
                                           estimators().make(component(estimators(), estimator, settings)));
}

/// Group parameters repeated to the shape of the weight.
inline at::Tensor spread(const at::Tensor& grouped, const QuantFormat& format, int64_t columns) {
  return grouped.to(at::kFloat).repeat_interleave(format.resolved_group(columns), 1).slice(1, 0, columns);
}

}  // namespace rqat::quant
