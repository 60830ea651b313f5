// A small random model with quantised linears, and calibration for it.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "model/tiny_model.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/policy.h"

namespace rqat::ptq {

inline model::ModelConfig tiny_config(const std::string& family = "llama") {
  model::ModelConfig config = model::tiny_config(family);
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.head_dim = 16;
  return config;
}

inline std::unique_ptr<model::CausalLM> build(const model::ModelConfig& config, nn::LayerFactory& factory,
                                              at::ScalarType dtype = at::kFloat) {
  auto model = std::make_unique<model::CausalLM>(config, factory, dtype, at::kCPU);
  model::load(*model, model::random_weights(config));
  return model;
}

inline std::unique_ptr<model::CausalLM> quantized_model(const std::string& policy_yaml,
                                                        const std::string& family = "llama",
                                                        at::ScalarType dtype = at::kFloat) {
  quant::QuantPolicy policy;
  base::Faults faults;
  base::read_config(policy, base::Node::parse(policy_yaml, "test"), "quant", faults);
  faults.raise("test");
  quant::QuantLayerFactory factory(policy, base::Component("ste"));
  return build(tiny_config(family), factory, dtype);
}

/// Three batches of documents of different lengths.
inline Calibration random_calibration(int64_t seed = 7) {
  at::manual_seed(seed);
  Calibration calibration;
  for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{40, 25}, {60}, {1, 30, 33}}) {
    std::vector<std::vector<int64_t>> documents;
    for (const int64_t length : lengths) {
      const at::Tensor ids = at::randint(50, {length}, at::kLong);
      documents.emplace_back(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + length);
    }
    calibration.push_back(nn::make_token_batch(documents));
  }
  return calibration;
}

inline std::unique_ptr<Initializer> make_initializer(const std::string& name, const std::string& yaml = "{}") {
  base::Component chosen(name);
  chosen.config = initializers().find_info(name)->make_config();
  base::Faults faults;
  base::read_config(*chosen.config, base::Node::parse(yaml, "test"), name, faults);
  faults.raise("test");
  return initializers().make(chosen);
}

}  // namespace rqat::ptq
