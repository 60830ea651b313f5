// Quantized Hugging Face checkpoints as starting points: their codes, scales and zero points stay what they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "rqat/io/safetensors.h"
#include "rqat/quant/format.h"

namespace rqat::exporting {

/// Whether config.json of the folder names a quantization of its own (quantization_config), and the folder is not one
/// of rqat's.
bool is_quantized_checkpoint(const std::filesystem::path& folder);

/// Whether config.json says that MLX quantized the folder, which is not read.
bool is_mlx_folder(const std::filesystem::path& folder);

/// Turns a folder in GPTQ (versions 1 and 2), AWQ (GEMM) or compressed-tensors (pack-quantized, the packing of before
/// May 2026 included) into a stage folder: model.safetensors (W_hat and the other tensors in `dtype`: bfloat16 |
/// float32), rqat_quant.json, rqat_state.safetensors, config.json without quantization_config, and the tokenizer's
/// files. Written atomically, one layer at a time, weights in shards of at most `max_shard_bytes`. Scales below the
/// smallest normal number of their type are raised to it, the codes of such layers made anew, and a warning tells how
/// many. Groups that are spread over the inputs (act-order) become the layer's quant::FakeQuantLinear::input_order.
/// Throws IoError: another method or format, bits other than 2, 3, 4 and 8, groups (g_idx) that do not exist or have
/// the wrong number of inputs, a zero point rule that the data contradict, a quantized layer that is no linear of the
/// model, a tensor that is missing or has another shape or dtype; ConfigError on an unknown dtype.
void import_quantized(const std::filesystem::path& source, const std::filesystem::path& folder,
                      const std::string& dtype, int64_t max_shard_bytes = io::kModelShardBytes);

struct CheckpointLayer {
  std::string name;  ///< in the files
  quant::QuantFormat format;
  int64_t rows = 0, columns = 0;
  at::Tensor scale, zero_point;  ///< fp32 and int32 [rows, groups]
};

/// Calls `visit` for each quantized layer, in the order of names. Throws what import_quantized() throws.
void visit_checkpoint(const std::filesystem::path& source, const std::function<void(const CheckpointLayer&)>& visit);

/// Formats by layer, as import_quantized() finds them, without reading the codes.
std::map<std::string, quant::QuantFormat> checkpoint_formats(const std::filesystem::path& source);

/// Writes config.json, without its quantization, and generation_config.json of `source` into `folder`.
void write_plain_config(const std::filesystem::path& source, const std::filesystem::path& folder);

}  // namespace rqat::exporting
