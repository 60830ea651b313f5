// The quantised part of a stage folder: rqat_quant.json (formats) and rqat_state.safetensors (masters, scales, zero
// points, codes). model.safetensors beside them holds W_hat.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "rqat/nn/linear.h"
#include "rqat/quant/format.h"

namespace rqat::quant {

/// Layer name -> format of every FakeQuantLinear among `layers`.
std::map<std::string, QuantFormat> formats_of(const std::vector<nn::LinearBase*>& layers);

/// JSON text of rqat_quant.json and back. Throws IoError on malformed text or unknown fields.
std::string write_formats(const std::map<std::string, QuantFormat>& formats);
std::map<std::string, QuantFormat> read_formats(const std::string& json, const std::string& file_name);

/// "<layer>.weight_master" fp32, ".weight_scale" (scale dtype), ".weight_scale_master" fp32, ".weight_zero_point"
/// uint8,
/// ".weight_zero_point_master" fp32, ".weight_packed" int32 (ops::pack_codes), ".weight_input_order" int32 [K] where
/// the layer has one. Masters equal to W_hat are left out (after PTQ).
std::map<std::string, at::Tensor> state_tensors(const std::vector<nn::LinearBase*>& layers);
/// Restores them: the layers then have exactly the stored codes; a mismatch between codes and master is an IoError that
/// names the layer. Throws IoError on a missing or misshaped tensor, too, and on an input order that is none, or is
/// missing where the layer's format says that it has one.
void load_state(const std::vector<nn::LinearBase*>& layers, const std::map<std::string, at::Tensor>& tensors);

}  // namespace rqat::quant
