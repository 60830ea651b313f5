// Compares what a folder holds with the model it was written from.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "layers.h"
#include "rqat/export/exporter.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::exporting {

/// One quantized layer as read from a folder. Columns are in the order of the inputs.
struct StoredLayer {
  at::Tensor codes;       ///< int32 [N, K], as the file gives them, also where they leave the format's range
  at::Tensor scale;       ///< fp32 [N, G]; undefined for formats that store none
  at::Tensor zero_point;  ///< int32 [N, G]; undefined for formats that store none
  at::Tensor weight;      ///< fp32 [N, K]: the matrix that a reader multiplies with
  /// int64 [K]: the group of each input, where groups are spread over the inputs (act-order); undefined = k / group.
  at::Tensor group_of_input;
  /// What rounding in the format explains of |weight - s (q - z)| / s; 0 = nothing, the weights must be equal.
  double weight_tolerance = 0;
};

/// A folder through the eyes of its format's own reader.
struct StoredModel {
  std::function<model::ModelConfig()> config;
  /// The given layer says only what is asked for, its codes must not be looked at.
  std::function<StoredLayer(const quant::FakeQuantLinear&)> layer;
  /// Any float tensor by its Hugging Face name.
  std::function<at::Tensor(const std::string&)> tensor;
};

/// `folder` is for messages.
RoundTrip compare(model::CausalLM& model, const std::filesystem::path& folder,
                  const std::vector<std::vector<int64_t>>& probe, const StoredModel& stored);

/// Reads a layer of a folder with safetensors.
using LayerReader =
    std::function<StoredLayer(const quant::FakeQuantLinear&, const StoredRows&, const io::TensorSource&)>;

/// A part of a stored weight.
StoredLayer rows_of(const StoredLayer& stored, const StoredRows& rows);

/// The same for a Hugging Face folder: config.json, and float tensors under their own names, or where the family fuses
/// them as rows of another.
RoundTrip compare_folder(model::CausalLM& model, const std::filesystem::path& folder,
                         const std::vector<std::vector<int64_t>>& probe, const LayerReader& read_layer);

}  // namespace rqat::exporting
