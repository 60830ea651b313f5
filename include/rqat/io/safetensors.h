// safetensors files: u64 header length, JSON header, raw little-endian data (github.com/huggingface/safetensors).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/files.h"

namespace rqat::io {

using TensorMap = std::map<std::string, at::Tensor>;

/// A named tensor's place in a file.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  ///< bytes, relative to the start of the data
};

/// Memory-mapped reader. Everything in the header is checked against the file's size before use; throws IoError that
/// names the file and tensor (truncated, overlap or hole, unknown dtype, shape and bytes disagree, header over 100 MB).
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::filesystem::path& path);
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has(const std::string& name) const { return tensors_.count(name) > 0; }
  /// A copy (own memory) of the tensor, dtype as stored. Throws IoError when absent.
  at::Tensor read(const std::string& name) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<base::MappedFile> file_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  int64_t data_start_ = 0;
};

/// Writes all tensors atomically. The data starts at a multiple of 8 bytes and is laid out by descending element size,
/// then by name, so every tensor is aligned to its element. Metadata gets {"format": "pt"} beside the given. Tensors
/// may be strided or on a device. Throws IoError (dtype without a safetensors name, no space, no permission).
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// The same for tensors that are made one at a time, so that only one is in memory: `make(name)` is called once per
/// entry of `layout` (whose begin and end are ignored) and must return its dtype and shape. Throws IoError, also when
/// not.
void write_safetensors_streamed(const std::filesystem::path& path, const std::map<std::string, TensorInfo>& layout,
                                const std::function<at::Tensor(const std::string&)>& make,
                                const std::map<std::string, std::string>& metadata = {});

/// Shards of a model grow up to this size, unless a single tensor is larger.
inline constexpr int64_t kModelShardBytes = 5'000'000'000;

/// The weights of a model folder, made one at a time: model.safetensors, or where they are larger than
/// `max_shard_bytes` model-00001-of-0000N.safetensors and model.safetensors.index.json. Throws IoError as
/// write_safetensors_streamed().
void write_model_tensors(const std::filesystem::path& folder, const std::map<std::string, TensorInfo>& layout,
                         const std::function<at::Tensor(const std::string&)>& make,
                         int64_t max_shard_bytes = kModelShardBytes);

/// All tensors of a model folder (model.safetensors, or the shards of model.safetensors.index.json) or of one
/// .safetensors file. Throws IoError: neither is there, pickled weights only, a shard outside the folder or without a
/// tensor that the index promises.
class TensorSource {
 public:
  explicit TensorSource(const std::filesystem::path& folder_or_file);
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return where_.count(name) > 0; }
  const TensorInfo& info(const std::string& name) const;
  at::Tensor read(const std::string& name) const;  ///< throws IoError when absent
  /// Where the tensors come from, for messages.
  const std::filesystem::path& path() const { return path_; }

 private:
  void open_file(const std::filesystem::path& file);
  void open_shards(const std::filesystem::path& index);
  const SafetensorsReader& reader_of(const std::string& name) const;

  std::filesystem::path path_;
  std::vector<std::unique_ptr<SafetensorsReader>> files_;
  std::map<std::string, size_t> where_;
};

}  // namespace rqat::io
