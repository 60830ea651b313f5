#include "rqat/io/gguf.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>
#include <limits>

#include "io/gguf_dequantize.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/mapped_pages.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = int64_t{1} << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr size_t kMinEntryBytes = 13;   // key length, value type, one byte of value
constexpr size_t kMinTensorBytes = 24;  // name length, dimension count, type, offset

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kFloat, kBool, kString, kArray, kU64, kI64, kDouble };

/// Reads forward through the file and never past its end.
class Cursor {
 public:
  Cursor(const uint8_t* data, size_t size, const std::filesystem::path& path) : data_(data), size_(size), path_(path) {}

  [[noreturn]] void fail(const std::string& why) const {
    throw IoError(cat(path_.string(), ": at byte ", position_, ": ", why));
  }

  size_t position() const { return position_; }

  template <class T>
  T take() {
    if (size_ - position_ < sizeof(T)) fail(cat("the file ends within a value (truncated at ", size_, " bytes?)"));
    T value;
    std::memcpy(&value, data_ + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  /// A count of things of at least `least_bytes` each: more than the rest of the file can hold is corrupt.
  size_t take_count(size_t least_bytes, const char* what) {
    const auto count = take<uint64_t>();
    if (count > (size_ - position_) / least_bytes) {
      fail(cat(count, " ", what, " do not fit in the ", size_ - position_, " bytes left (corrupt or truncated)"));
    }
    return static_cast<size_t>(count);
  }

  std::string take_text() {
    const size_t length = take_count(1, "characters");
    std::string text(reinterpret_cast<const char*>(data_ + position_), length);
    position_ += length;
    return text;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  const std::filesystem::path& path_;
  size_t position_ = 0;
};

bool is_integer_type(uint32_t type) { return type <= kI32 || type == kBool || type == kU64 || type == kI64; }

size_t scalar_bytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kFloat:
      return 4;
    default:
      return 8;  // 64-bit numbers, and the length that starts a string
  }
}

int64_t take_integer(Cursor& cursor, uint32_t type) {
  switch (type) {
    case kU8:
      return cursor.take<uint8_t>();
    case kI8:
      return cursor.take<int8_t>();
    case kU16:
      return cursor.take<uint16_t>();
    case kI16:
      return cursor.take<int16_t>();
    case kU32:
      return cursor.take<uint32_t>();
    case kI32:
      return cursor.take<int32_t>();
    case kBool:
      return cursor.take<uint8_t>() != 0 ? 1 : 0;
    case kI64:
      return cursor.take<int64_t>();
    default:
      break;
  }
  const auto value = cursor.take<uint64_t>();
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    cursor.fail(cat("the number ", value, " does not fit in a signed 64-bit integer"));
  }
  return static_cast<int64_t>(value);
}

double take_number(Cursor& cursor, uint32_t type) {
  return type == kFloat ? static_cast<double>(cursor.take<float>()) : cursor.take<double>();
}

template <class T, class Take>
std::vector<T> take_array(size_t count, Take take) {
  std::vector<T> values;
  values.reserve(count);
  for (size_t i = 0; i < count; ++i) values.push_back(take());
  return values;
}

GgufValue take_array_value(Cursor& cursor, const std::string& key) {
  const auto type = cursor.take<uint32_t>();
  if (type == kArray || type > kDouble) {
    cursor.fail(cat("key '", key, "' is an array of values of type ", type, ", which is not supported"));
  }
  const size_t count = cursor.take_count(scalar_bytes(type), "array elements");
  if (type == kString) return take_array<std::string>(count, [&] { return cursor.take_text(); });
  if (is_integer_type(type)) return take_array<int64_t>(count, [&] { return take_integer(cursor, type); });
  return take_array<double>(count, [&] { return take_number(cursor, type); });
}

GgufValue take_value(Cursor& cursor, const std::string& key) {
  const auto type = cursor.take<uint32_t>();
  if (type > kDouble) cursor.fail(cat("key '", key, "' has the unknown value type ", type));
  if (type == kBool) return cursor.take<uint8_t>() != 0;
  if (type == kString) return cursor.take_text();
  if (type == kArray) return take_array_value(cursor, key);
  if (is_integer_type(type)) return take_integer(cursor, type);
  return take_number(cursor, type);
}

GgufTensorInfo take_tensor_info(Cursor& cursor, const std::string& name) {
  GgufTensorInfo info;
  const auto dimensions = cursor.take<uint32_t>();
  if (dimensions > kMaxDimensions) {
    cursor.fail(cat("tensor '", name, "' has ", dimensions, " dimensions, at most ", kMaxDimensions, " are allowed"));
  }
  info.shape.resize(dimensions);
  // The file counts from the fastest dimension, PyTorch from the slowest.
  for (auto size = info.shape.rbegin(); size != info.shape.rend(); ++size) *size = take_integer(cursor, kU64);
  info.type = cursor.take<uint32_t>();
  info.offset = take_integer(cursor, kU64);
  return info;
}

/// Bytes of a tensor, of one with an unknown type (null) the fewest that are possible: a bit for each value. False when
/// they or the strides overflow, or when the rows do not fill whole blocks.
bool tensor_bytes(const GgufTensorInfo& info, const GgmlType* type, int64_t& bytes) {
  int64_t extent = type == nullptr ? 1 : type->block_bytes;
  int64_t values = 1;
  for (const int64_t size : info.shape) {
    if (__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent)) return false;
    values *= size;
  }
  if (type == nullptr) {
    bytes = values / 8;
    return true;
  }
  bytes = values / type->block_values * type->block_bytes;
  const int64_t row = info.shape.empty() ? 1 : info.shape.back();
  return row % type->block_values == 0;
}

void check_tensor(const std::string& name, const GgufTensorInfo& info, int64_t alignment, int64_t data_bytes,
                  const std::filesystem::path& path) {
  const auto fail = [&](const std::string& why) { throw IoError(cat(path.string(), ": tensor '", name, "': ", why)); };
  if (info.offset % alignment != 0) fail(cat("offset ", info.offset, " is not a multiple of ", alignment));
  int64_t bytes = 0;
  if (!tensor_bytes(info, find_ggml_type(info.type), bytes)) {
    fail(cat("shape ", at::IntArrayRef(info.shape), " is not possible for ", ggml_type_name(info.type)));
  }
  if (info.offset > data_bytes || bytes > data_bytes - info.offset) {
    fail(cat(bytes, " bytes at ", info.offset, " are not inside the ", data_bytes, " bytes of data (truncated?)"));
  }
}

const char* kind_name(const GgufValue& value) {
  constexpr const char* kNames[] = {"an integer",         "a number",          "a boolean",       "a text",
                                    "a list of integers", "a list of numbers", "a list of texts", "a list of booleans"};
  return kNames[value.index()];
}

template <class T>
const T& typed(const GgufReader& reader, const std::string& key) {
  const auto found = reader.metadata().find(key);
  if (found == reader.metadata().end()) throw IoError(cat(reader.path().string(), ": has no metadata key '", key, "'"));
  const T* value = std::get_if<T>(&found->second);
  if (value != nullptr) return *value;
  throw IoError(cat(reader.path().string(), ": metadata key '", key, "' is ", kind_name(found->second), ", expected ",
                    kind_name(GgufValue(T{}))));
}

void check_magic(Cursor& cursor) {
  if (cursor.take<uint32_t>() != kMagic) cursor.fail("does not begin with 'GGUF', not a GGUF file");
  const auto version = cursor.take<uint32_t>();
  if (version != 2 && version != 3)
    cursor.fail(cat("GGUF version ", version, " is not supported (2 and 3 little-endian are)"));
}

int64_t checked_alignment(const GgufReader& reader) {
  if (!reader.has("general.alignment")) return kDefaultAlignment;
  const int64_t alignment = reader.integer("general.alignment");
  if (alignment >= 8 && alignment <= kMaxAlignment && (alignment & (alignment - 1)) == 0) return alignment;
  throw IoError(cat(reader.path().string(), ": general.alignment is ", alignment, ", expected a power of two in 8..",
                    kMaxAlignment));
}

}  // namespace

GgufReader::GgufReader(const std::filesystem::path& path)
    : path_(path), file_(std::make_shared<base::MappedFile>(path)) {
  Cursor cursor(file_->data(), file_->size(), path_);
  check_magic(cursor);
  const size_t tensor_count = cursor.take_count(kMinTensorBytes, "tensors");
  const size_t entry_count = cursor.take_count(kMinEntryBytes, "metadata entries");
  for (size_t i = 0; i < entry_count; ++i) {
    const std::string key = cursor.take_text();
    if (!metadata_.emplace(key, take_value(cursor, key)).second) cursor.fail(cat("duplicate key '", key, "'"));
  }
  for (size_t i = 0; i < tensor_count; ++i) {
    const std::string name = cursor.take_text();
    if (!tensors_.emplace(name, take_tensor_info(cursor, name)).second)
      cursor.fail(cat("duplicate tensor '", name, "'"));
  }
  const int64_t alignment = checked_alignment(*this);
  data_start_ = (static_cast<int64_t>(cursor.position()) + alignment - 1) / alignment * alignment;
  const int64_t data_bytes = std::max<int64_t>(0, static_cast<int64_t>(file_->size()) - data_start_);
  for (const auto& [name, info] : tensors_) check_tensor(name, info, alignment, data_bytes, path_);
}

int64_t GgufReader::integer(const std::string& key) const { return typed<int64_t>(*this, key); }
double GgufReader::number(const std::string& key) const { return typed<double>(*this, key); }
const std::string& GgufReader::text(const std::string& key) const { return typed<std::string>(*this, key); }
const std::vector<std::string>& GgufReader::texts(const std::string& key) const {
  return typed<std::vector<std::string>>(*this, key);
}
const std::vector<int64_t>& GgufReader::integers(const std::string& key) const {
  return typed<std::vector<int64_t>>(*this, key);
}
const std::vector<double>& GgufReader::numbers(const std::string& key) const {
  return typed<std::vector<double>>(*this, key);
}

const GgufTensorInfo& GgufReader::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw IoError(cat(path_.string(), ": has no tensor '", name, "'"));
  return found->second;
}

at::Tensor GgufReader::read(const std::string& name) const { return read_values(name, info(name).shape, 0); }

at::Tensor GgufReader::read_part(const std::string& name, int64_t index) const {
  const std::vector<int64_t>& shape = info(name).shape;
  if (shape.size() < 2 || index < 0 || index >= shape[0]) {
    throw IoError(
        cat(path_.string(), ": tensor '", name, "' of shape ", at::IntArrayRef(shape), " has no entry ", index));
  }
  const std::vector<int64_t> part(shape.begin() + 1, shape.end());
  return read_values(name, part, index * c10::multiply_integers(part));
}

/// Values `first` and on of the tensor, which fill `shape`: whole rows.
at::Tensor GgufReader::read_values(const std::string& name, std::vector<int64_t> shape, int64_t first) const {
  const GgmlType* type = find_ggml_type(info(name).type);
  if (type == nullptr) {
    throw IoError(cat(path_.string(), ": tensor '", name, "' is stored as ", ggml_type_name(info(name).type),
                      ", which is not supported (one of ", ggml_type_names(),
                      "); use a file of one of these types, e.g. the Q8_0 or F16 release of the model"));
  }
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* target = tensor.mutable_data_ptr<float>();
  const uint8_t* source =
      file_->data() + data_start_ + info(name).offset + first / type->block_values * type->block_bytes;
  const int64_t grain = (int64_t{1} << 20) / type->block_values;
  at::parallel_for(0, tensor.numel() / type->block_values, grain, [&](int64_t begin, int64_t end) {
    type->dequantize(source + begin * type->block_bytes, target + begin * type->block_values, end - begin);
  });
  drop_pages(source, tensor.numel() / type->block_values * type->block_bytes);
  return tensor;
}

std::string GgufReader::type_of(const std::string& name) const { return ggml_type_name(info(name).type); }

int64_t GgufReader::bytes_of(const std::string& name) const {
  const GgmlType* type = find_ggml_type(info(name).type);
  int64_t bytes = 0;
  if (type != nullptr) tensor_bytes(info(name), type, bytes);
  return bytes;
}

const uint8_t* GgufReader::raw(const std::string& name, int64_t size) const {
  const int64_t offset = info(name).offset, available = static_cast<int64_t>(file_->size()) - data_start_ - offset;
  if (size > available) {
    throw IoError(cat(path_.string(), ": tensor '", name, "' of ", size, " bytes goes beyond the end of the file (",
                      available, " bytes left)"));
  }
  return file_->data() + data_start_ + offset;
}

}  // namespace rqat::io
