// A GGUF file: its tensors, its vocabulary and template, and its import as a model folder.
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "fuzz/fuzz_input.h"
#include "rqat/io/gguf.h"
#include "rqat/io/gguf_import.h"
#include "text/pipeline_tokenizer.h"
#include "text/readers.h"

namespace rqat::fuzz {
namespace {

/// fp32 values of the most compact type (Q4_0: 18 bytes hold 32).
constexpr size_t kMostExpansion = 8;

void read_tensors(const io::GgufReader& reader, size_t file_bytes) {
  for (const auto& tensor : reader.tensors()) {
    accepted([&] {
      if (reader.read(tensor.first).nbytes() > kMostExpansion * file_bytes)
        broken("tensors are not larger than their file");
    });
  }
}

void read_vocabulary(const std::filesystem::path& path) {
  const text::PipelineTokenizer tokenizer(text::read_gguf_vocabulary(path));
  tokenizer.decode(tokenizer.encode("Hello, world 123!\n <s></s>\xE2\x96\x81", true), false);
}

void import(const std::filesystem::path& path) {
  static const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("rqat_fuzz_import_" + std::to_string(::getpid()));
  io::import_gguf(path, folder, "float32");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace rqat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  using namespace rqat::fuzz;
  const InputFile file(text_of(data, size));
  accepted([&] {
    const io::GgufReader reader(file.path());
    read_tensors(reader, size);
    accepted([&] { io::gguf_model_config(reader, "bfloat16"); });
    accepted([&] { io::gguf_generation_config(reader); });
    if (accepted([&] { read_vocabulary(file.path()); })) accepted([&] { import(file.path()); });
  });
  return 0;
}
