// A trainable tensor with its fp32 master, the copy that the forward reads, and an fp32 gradient buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace rqat::nn {

enum class Role { kWeight, kBias, kNorm, kEmbedding, kHead, kRouter, kScale, kZeroPoint };
const char* role_name(Role role);  ///< "weight", "bias", "norm", "embedding", "head", "router", "scale", "zero_point"

/// `compute` is what the forward multiplies with (bf16 or fp32). `master` and `grad` exist only while training:
/// make_master() creates them; the optimizer steps `master`; refresh() rounds it into `compute`. With fp32 compute,
/// both share memory. Gradients are added straight into `grad` by the layers' backward, in fp32, over micro-batches.
struct Parameter {
  std::string name;  ///< as in the HF checkpoint: "model.layers.0.self_attn.q_proj.weight"
  Role role = Role::kWeight;
  bool trainable = true;
  bool elsewhere = false;  ///< another rank keeps the master (ZeRO): none is made here
  at::Tensor compute, master, grad;

  bool defined() const { return compute.defined() || master.defined(); }
  /// Creates `master` from `compute` unless there is one.
  void make_master();
  /// compute <- master (rounded to compute's dtype). Nothing to do when they share memory or there is no master.
  void refresh();
  /// From now on another rank keeps the master.
  void release_master();
  /// What ranks share of a parameter whose master one of them keeps: `compute`, after the master where there is one, to
  /// be overwritten elsewhere.
  at::Tensor shared_value();
  /// The gradient buffer, made (zeros) when missing.
  at::Tensor& grad_buffer();
  void zero_grad();  ///< drops or clears the buffer
};

using ParameterList = std::vector<Parameter*>;

}  // namespace rqat::nn
