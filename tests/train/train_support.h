// Tiny models (float and quantised), examples and settings for the training loops.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/base/rng.h"
#include "rqat/quant/fake_quant_linear.h"
#include "rqat/quant/policy.h"
#include "rqat/train/trainer.h"
#include "support/messages.h"

namespace rqat::train {

template <class Config>
Config read(const std::string& yaml) {
  Config config;
  base::Faults faults;
  base::read_config(config, base::Node::parse(yaml, "test"), "stage", faults);
  faults.raise("test");
  return config;
}

inline std::unique_ptr<model::CausalLM> float_model(bool tied = true, uint64_t seed = 1) {
  const model::ModelConfig config = model::tiny_config("llama", tied);
  return model::tiny_model(config, model::random_weights(config, seed));
}

inline std::unique_ptr<model::CausalLM> quantized_model(int64_t num_bits = 4,
                                                        const std::string& estimator = "clipped_ste",
                                                        at::ScalarType dtype = at::kFloat) {
  quant::QuantPolicy policy;
  policy.num_bits = num_bits;
  policy.group_size = 16;
  quant::QuantLayerFactory factory(policy, base::Component(estimator));
  const model::ModelConfig config = model::tiny_config();
  auto model = std::make_unique<model::CausalLM>(config, factory, dtype, at::kCPU);
  model::load(*model, model::random_weights(config));
  return model;
}

inline quant::FakeQuantLinear& quantized(nn::LinearBase& linear) {
  return dynamic_cast<quant::FakeQuantLinear&>(linear);
}

inline std::vector<at::Tensor> codes_of(model::CausalLM& model) {
  std::vector<at::Tensor> codes;
  for (nn::LinearBase* linear : model.linears()) codes.push_back(quantized(*linear).codes());
  return codes;
}

inline int64_t codes_that_differ(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  int64_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += at::ne(a[i], b.at(i)).sum().item<int64_t>();
  return different;
}

inline io::TensorMap copy_of_weights(model::CausalLM& model) {
  io::TensorMap copy;
  for (const auto& [name, tensor] : model.weights()) copy[name] = tensor.clone();
  return copy;
}

/// Random tokens; the first three positions are a prompt.
inline std::vector<data::Example> random_examples(size_t count, uint64_t seed = 7) {
  base::Rng rng(seed);
  std::vector<data::Example> examples(count);
  for (data::Example& example : examples) {
    const int64_t length = rng.integer(5, 12);
    for (int64_t i = 0; i < length; ++i) {
      example.ids.push_back(rng.integer(0, 49));
      example.loss_mask.push_back(i >= 3 ? 1 : 0);
    }
  }
  return examples;
}

/// Rows of metrics in order.
struct Log {
  std::vector<int64_t> steps, evaluations;
  std::vector<Metrics> rows;
  Callbacks callbacks() {
    Callbacks callbacks;
    callbacks.on_metrics = [this](int64_t step, const Metrics& metrics) {
      steps.push_back(step);
      rows.push_back(metrics);
    };
    callbacks.on_evaluate = [this](int64_t step) { evaluations.push_back(step); };
    return callbacks;
  }
};

using test::message_of;

}  // namespace rqat::train
