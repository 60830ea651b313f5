// Compares what a folder holds with the model it was written from.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "rqat/export/exporter.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::exporting {

/// One quantized layer as read from a folder.
struct StoredLayer {
  at::Tensor codes;              ///< int32 [N, K], as the file gives them, also where they leave the format's range
  at::Tensor scale, zero_point;  ///< fp32 and int32 [N, G]; undefined for formats that store none
  at::Tensor weight;             ///< fp32 [N, K]: the matrix that a reader multiplies with
};

/// Reads a layer of the folder; the given layer says only what is asked for, its codes must not be looked at.
using LayerReader = std::function<StoredLayer(const quant::FakeQuantLinear&, const io::TensorSource&)>;

RoundTrip compare_folder(model::CausalLM& model, const std::filesystem::path& folder,
                         const std::vector<std::vector<int64_t>>& probe, const LayerReader& read_layer);

}  // namespace rqat::exporting
