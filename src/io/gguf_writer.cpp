#include "rqat/io/gguf_writer.h"

#include <ATen/ATen.h>

#include <limits>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr int64_t kAlignment = 32;
constexpr size_t kMaxNameBytes = 63;  // 64 with the zero that ggml appends
constexpr size_t kMaxDimensions = 4;

enum ValueType : uint32_t { kU32 = 4, kI32 = 5, kFloat = 6, kBool = 7, kString = 8, kArray = 9 };

int64_t padded(int64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

/// The part of the file before the data, built in memory.
class Header {
 public:
  template <class T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void put_text(const std::string& text) {
    put(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  template <class T, class From>
  void put_array(ValueType type, const std::vector<From>& values) {
    put(static_cast<uint32_t>(kArray));
    put(static_cast<uint32_t>(type));
    put(static_cast<uint64_t>(values.size()));
    for (const From& value : values) put(static_cast<T>(value));
  }
  void put_texts(const std::vector<std::string>& texts) {
    put(static_cast<uint32_t>(kArray));
    put(static_cast<uint32_t>(kString));
    put(static_cast<uint64_t>(texts.size()));
    for (const std::string& text : texts) put_text(text);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

template <class T>
void check_range(int64_t value, const std::string& key, const std::filesystem::path& path) {
  if (value >= std::numeric_limits<T>::min() && value <= static_cast<int64_t>(std::numeric_limits<T>::max())) return;
  throw IoError(cat(path.string(), ": metadata key '", key, "' is ", value, ", expected ",
                    std::numeric_limits<T>::min(), "..", std::numeric_limits<T>::max()));
}

/// Writes one value, kind first.
struct ValueWriter {
  Header& header;
  const std::string& key;
  const std::filesystem::path& path;

  void operator()(int64_t value) const {
    check_range<uint32_t>(value, key, path);
    header.put(static_cast<uint32_t>(kU32));
    header.put(static_cast<uint32_t>(value));
  }
  void operator()(double value) const {
    header.put(static_cast<uint32_t>(kFloat));
    header.put(static_cast<float>(value));
  }
  void operator()(bool value) const {
    header.put(static_cast<uint32_t>(kBool));
    header.put(static_cast<uint8_t>(value ? 1 : 0));
  }
  void operator()(const std::string& value) const {
    header.put(static_cast<uint32_t>(kString));
    header.put_text(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    for (const int64_t value : values) check_range<int32_t>(value, key, path);
    header.put_array<int32_t>(kI32, values);
  }
  void operator()(const std::vector<double>& values) const { header.put_array<float>(kFloat, values); }
  void operator()(const std::vector<std::string>& values) const { header.put_texts(values); }
  void operator()(const std::vector<bool>& values) const {
    header.put_array<uint8_t>(kBool, std::vector<int>(values.begin(), values.end()));
  }
};

std::string build_header(const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors,
                         const std::filesystem::path& path) {
  Header header;
  header.put(kMagic);
  header.put(kVersion);
  header.put(static_cast<uint64_t>(tensors.size()));
  header.put(static_cast<uint64_t>(metadata.size()));
  std::set<std::string> names;
  for (const auto& [key, value] : metadata) {
    if (!names.insert(key).second) throw IoError(cat(path.string(), ": metadata key '", key, "' is given twice"));
    header.put_text(key);
    std::visit(ValueWriter{header, key, path}, value);
  }
  names.clear();
  int64_t offset = 0;
  for (const GgufOutput& tensor : tensors) {
    if (tensor.name.size() > kMaxNameBytes || !names.insert(tensor.name).second ||
        tensor.shape.size() > kMaxDimensions) {
      throw IoError(cat(path.string(), ": tensor '", tensor.name, "' of ", tensor.shape.size(),
                        " dimensions: expected a new name of at most ", kMaxNameBytes, " bytes and at most ",
                        kMaxDimensions, " dimensions"));
    }
    header.put_text(tensor.name);
    header.put(static_cast<uint32_t>(tensor.shape.size()));
    // The file counts from the fastest dimension.
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      header.put(static_cast<uint64_t>(*size));
    header.put(tensor.type);
    header.put(static_cast<uint64_t>(offset));
    offset += padded(tensor.bytes);
  }
  return header.bytes();
}

void append_padding(base::AtomicFile& file, int64_t size) {
  static constexpr char kZeros[kAlignment] = {};
  file.append(kZeros, static_cast<size_t>(padded(size) - size));
}

}  // namespace

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors,
                const std::function<at::Tensor(const std::string&)>& make) {
  const std::string header = build_header(metadata, tensors, path);
  base::AtomicFile file(path);
  file.append(header);
  append_padding(file, static_cast<int64_t>(header.size()));
  for (const GgufOutput& tensor : tensors) {
    const at::Tensor data = make(tensor.name);
    const bool fits = data.scalar_type() == at::kByte && data.is_cpu() && data.is_contiguous();
    if (!fits || data.numel() != tensor.bytes) {
      throw IoError(cat(path.string(), ": tensor '", tensor.name, "' was made as ", data.numel(), " values of ",
                        at::toString(data.scalar_type()), ", announced as ", tensor.bytes, " bytes"));
    }
    file.append(data.const_data_ptr(), static_cast<size_t>(tensor.bytes));
    append_padding(file, tensor.bytes);
  }
  file.commit();
}

}  // namespace rqat::io
