// A .safetensors file; or, when the input begins with '{' or a space, an index of shards beside which a tempting file
// lies outside.
#include <ATen/ATen.h>

#include <fstream>

#include "fuzz/fuzz_input.h"
#include "rqat/io/safetensors.h"

namespace rqat::fuzz {
namespace {

namespace fs = std::filesystem;

void read_all(const fs::path& path, size_t file_bytes) {
  const io::SafetensorsReader reader(path);
  size_t bytes = 0;
  for (const auto& [name, info] : reader.tensors()) bytes += reader.read(name).nbytes();
  if (bytes > file_bytes) broken("tensors are not larger than their file");
}

/// A model folder with one shard, and a sibling that no index may reach.
class ShardedFolder {
 public:
  ShardedFolder() {
    std::string name = (fs::temp_directory_path() / "rqat_fuzz_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) broken("a temporary folder can be made");
    root_ = name;
    fs::create_directory(root_ / "model");
    io::write_safetensors(root_ / "model" / "model-00001.safetensors", {{"inside", at::ones({2})}});
    io::write_safetensors(root_ / "outside.safetensors", {{"outside", at::ones({2})}});
  }
  ~ShardedFolder() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  fs::path folder() const { return root_ / "model"; }

 private:
  fs::path root_;
};

void read_index(std::string_view json) {
  static const ShardedFolder model;
  std::ofstream(model.folder() / "model.safetensors.index.json", std::ios::binary).write(json.data(), json.size());
  const io::TensorSource source(model.folder());
  for (const std::string& name : source.names()) source.read(name);
  if (source.has("outside")) broken("an index does not reach outside of its folder");
}

}  // namespace
}  // namespace rqat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat::fuzz;
  const std::string_view content = text_of(data, size);
  accepted([&] {
    if (!content.empty() && (content.front() == '{' || content.front() == ' ')) {
      read_index(content);
    } else {
      read_all(InputFile(content).path(), size);
    }
  });
  return 0;
}
