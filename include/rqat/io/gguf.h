// GGUF v3 files (ggml): metadata and block-quantised tensors, read and dequantised to fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "rqat/base/files.h"

namespace rqat::io {

/// A metadata value. Arrays are kept as vectors of one kind; booleans are read as integers.
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>, std::vector<bool>>;

struct GgufTensorInfo {
  uint32_t type = 0;           ///< ggml type id: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 30 BF16, ...
  std::vector<int64_t> shape;  ///< row-major as in PyTorch (reverse of the file's ne)
  int64_t offset = 0;          ///< relative to the start of the data
};

/// Memory-mapped reader; all counts and sizes are checked against the file before anything is allocated. Throws
/// IoError.
class GgufReader {
 public:
  explicit GgufReader(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensorInfo>& tensors() const { return tensors_; }
  bool has(const std::string& key) const { return metadata_.count(key) > 0; }
  /// Typed metadata access. Throws IoError that names key and file when absent or of another kind.
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  const std::string& text(const std::string& key) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<int64_t>& integers(const std::string& key) const;
  const std::vector<double>& numbers(const std::string& key) const;
  /// The tensor dequantised to fp32. Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K,
  /// TQ2_0, Q2_0. Throws IoError on others.
  at::Tensor read(const std::string& name) const;
  /// The same of one entry [index] of the tensor's first dimension. Throws IoError when it has none of that index.
  at::Tensor read_part(const std::string& name, int64_t index) const;
  /// "Q4_0", or "type 99" for an unknown one; and its bytes in the file, 0 for a type that read() does not know.
  std::string type_of(const std::string& name) const;
  int64_t bytes_of(const std::string& name) const;
  /// The first `size` bytes of a tensor's data as they are stored, whatever its type; they live as long as the reader.
  /// Throws IoError when there is no such tensor, or the file holds fewer.
  const uint8_t* raw(const std::string& name, int64_t size) const;

 private:
  at::Tensor read_values(const std::string& name, std::vector<int64_t> shape, int64_t first) const;
  const GgufTensorInfo& info(const std::string& name) const;

  std::filesystem::path path_;
  std::shared_ptr<base::MappedFile> file_;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensorInfo> tensors_;
  int64_t data_start_ = 0;
};

}  // namespace rqat::io
