#include <ATen/ATen.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"

namespace rqat::io {
namespace {

using Layout = std::map<std::string, TensorInfo>;

int64_t bytes_of(const TensorInfo& info) {
  return c10::multiply_integers(info.shape) * static_cast<int64_t>(at::elementSize(info.dtype));
}

std::vector<Layout> cut(const Layout& layout, int64_t max_shard_bytes) {
  std::vector<Layout> shards(1);
  int64_t filled = 0;
  for (const auto& [name, info] : layout) {
    if (!shards.back().empty() && filled + bytes_of(info) > max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes_of(info);
    shards.back().emplace(name, info);
  }
  return shards;
}

}  // namespace

void write_model_tensors(const std::filesystem::path& folder, const Layout& layout,
                         const std::function<at::Tensor(const std::string&)>& make, int64_t max_shard_bytes) {
  const std::vector<Layout> shards = cut(layout, max_shard_bytes);
  if (shards.size() == 1) return write_safetensors_streamed(folder / "model.safetensors", layout, make);
  nlohmann::json weight_map = nlohmann::json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_safetensors_streamed(folder / name, shards[i], make);
    for (const auto& [tensor, info] : shards[i]) {
      weight_map[tensor] = name;
      total += bytes_of(info);
    }
  }
  write_json(folder / "model.safetensors.index.json",
             {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}});
}

}  // namespace rqat::io
