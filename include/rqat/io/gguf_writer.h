// GGUF v3 files (ggml), written: metadata, then tensors made one at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "rqat/io/gguf.h"

namespace rqat::io {

/// Keys in the order of the file. Kinds are those that ggml's readers ask for: integers are written as uint32, numbers
/// as float32, lists of integers as int32 arrays, lists of numbers as float32 arrays, lists of booleans as such.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

struct GgufOutput {
  std::string name;
  uint32_t type = 0;           ///< ggml type id
  std::vector<int64_t> shape;  ///< row-major as in PyTorch
  int64_t bytes = 0;           ///< of the data
};

/// Writes the file atomically. `make(name)` is called once per tensor in their order and must return its data: uint8 on
/// the CPU, contiguous, of the announced size. Throws IoError: a name of more than 63 bytes or twice, an integer that
/// its kind cannot hold, more than 4 dimensions, data of another size, no space, no permission.
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors,
                const std::function<at::Tensor(const std::string&)>& make);

}  // namespace rqat::io
