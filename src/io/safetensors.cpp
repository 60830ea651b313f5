#include "rqat/io/safetensors.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/io/mapped_pages.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int64_t kAlignment = 8;
constexpr const char* kMetadataKey = "__metadata__";

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
constexpr DtypeName kDtypes[] = {
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"U16", at::kUInt16},
    {"U32", at::kUInt32},
    {"U64", at::kUInt64},
    {"BOOL", at::kBool},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
};

std::string dtype_names() {
  std::vector<std::string> names;
  for (const auto& entry : kDtypes) names.emplace_back(entry.name);
  return base::join(names, ", ");
}

const char* name_of(at::ScalarType dtype, const std::string& tensor, const std::filesystem::path& path) {
  for (const auto& entry : kDtypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  throw IoError(cat(path.string(), ": tensor '", tensor, "' has dtype ", at::toString(dtype),
                    ", which safetensors cannot hold (one of ", dtype_names(), ")"));
}

/// Bytes of a tensor; false when its strides or its size do not fit in an int64 (also of an empty one: [2^40, 2^40,
/// 0]).
bool byte_count(const std::vector<int64_t>& shape, at::ScalarType dtype, int64_t& bytes) {
  bytes = static_cast<int64_t>(at::elementSize(dtype));
  bool is_empty = false;
  for (const int64_t size : shape) {
    is_empty = is_empty || size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes)) return false;
  }
  if (is_empty) bytes = 0;
  return true;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> sizes;
  sizes.reserve(shape.size());
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  return cat("[", base::join(sizes, ", "), "]");
}

std::string_view header_text(const base::MappedFile& file, const std::filesystem::path& path) {
  const auto size = static_cast<int64_t>(file.size());
  if (size < kLengthBytes)
    throw IoError(cat(path.string(), ": ", size,
                      " bytes are too few for a safetensors file (a GGUF file is known by its ending .gguf)"));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    throw IoError(cat(path.string(), ": header of ", length, " bytes, at most ", kMaxHeaderBytes,
                      " are allowed (not a safetensors file?)"));
  }
  if (static_cast<int64_t>(length) > size - kLengthBytes) {
    throw IoError(cat(path.string(), ": header of ", length, " bytes in a file of ", size, " (truncated?)"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, static_cast<size_t>(length));
  if (text.empty() || text.front() != '{') throw IoError(cat(path.string(), ": header does not start with '{'"));
  return text;
}

/// One entry of the header, checked.
class EntryParser {
 public:
  EntryParser(const std::filesystem::path& path, int64_t data_bytes) : path_(path), data_bytes_(data_bytes) {}

  TensorInfo parse(const std::string& name, const nlohmann::json& entry) const {
    if (!entry.is_object()) fail(name, "its entry is not an object");
    TensorInfo info{dtype(name, entry), integers(name, entry, "shape"), 0, 0};
    const std::vector<int64_t> offsets = integers(name, entry, "data_offsets");
    if (offsets.size() != 2) fail(name, cat("data_offsets ", shape_text(offsets), " are not [begin, end]"));
    info.begin = offsets[0];
    info.end = offsets[1];
    if (info.begin > info.end || info.end > data_bytes_) {
      fail(name, cat("bytes ", info.begin, "..", info.end, " are not inside the ", data_bytes_,
                     " bytes of data (truncated?)"));
    }
    check_size(name, info);
    return info;
  }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& why) const {
    throw IoError(cat(path_.string(), ": tensor '", name, "': ", why));
  }

  at::ScalarType dtype(const std::string& name, const nlohmann::json& entry) const {
    const auto found = entry.find("dtype");
    if (found == entry.end() || !found->is_string()) fail(name, "has no dtype");
    const auto& text = found->get_ref<const std::string&>();
    for (const auto& known : kDtypes) {
      if (text == known.name) return known.dtype;
    }
    fail(name, cat("unknown dtype '", text, "' (one of ", dtype_names(), ")"));
  }

  std::vector<int64_t> integers(const std::string& name, const nlohmann::json& entry, const char* key) const {
    const auto found = entry.find(key);
    if (found == entry.end() || !found->is_array()) fail(name, cat("has no list '", key, "'"));
    std::vector<int64_t> values;
    for (const auto& value : *found) {
      constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      if (!value.is_number_unsigned() || value.get<uint64_t>() > kLargest) {
        fail(name, cat(key, " holds ", value.dump(-1, ' ', true), ", not a count"));
      }
      values.push_back(value.get<int64_t>());
    }
    return values;
  }

  void check_size(const std::string& name, const TensorInfo& info) const {
    int64_t bytes = 0;
    if (!byte_count(info.shape, info.dtype, bytes) || bytes != info.end - info.begin) {
      fail(name, cat("shape ", shape_text(info.shape), " of ", at::toString(info.dtype), " does not fill its ",
                     info.end - info.begin, " bytes"));
    }
  }

  const std::filesystem::path& path_;
  int64_t data_bytes_;
};

/// The tensors must tile the data: no overlap, no hole, nothing behind the last.
void check_tiling(const std::map<std::string, TensorInfo>& tensors, int64_t data_bytes,
                  const std::filesystem::path& path) {
  std::vector<std::pair<const TensorInfo*, const std::string*>> order;
  order.reserve(tensors.size());
  for (const auto& [name, info] : tensors) order.emplace_back(&info, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  int64_t expected = 0;
  for (const auto& [info, name] : order) {
    if (info->begin != expected) {
      throw IoError(cat(path.string(), ": tensor '", *name, "' begins at byte ", info->begin, ", expected ", expected,
                        info->begin < expected ? " (overlaps another)" : " (hole before it)"));
    }
    expected = info->end;
  }
  if (expected != data_bytes) {
    throw IoError(cat(path.string(), ": ", data_bytes - expected, " bytes behind the last tensor"));
  }
}

std::map<std::string, std::string> parse_metadata(const nlohmann::json& entry, const std::filesystem::path& path) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) throw IoError(cat(path.string(), ": __metadata__ is not an object"));
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) throw IoError(cat(path.string(), ": __metadata__ '", key, "' is not a string"));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// Names in the order of their data: wide elements first keeps all of them aligned without holes.
std::vector<std::string> data_order(const std::map<std::string, TensorInfo>& layout) {
  std::vector<std::string> names;
  names.reserve(layout.size());
  for (const auto& [name, info] : layout) names.push_back(name);
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return at::elementSize(layout.at(a).dtype) > at::elementSize(layout.at(b).dtype);
  });
  return names;
}

std::string build_header(const std::map<std::string, TensorInfo>& layout, const std::vector<std::string>& order,
                         const std::map<std::string, std::string>& metadata, const std::filesystem::path& path) {
  nlohmann::json header;
  header[kMetadataKey] = metadata;
  header[kMetadataKey].emplace("format", "pt");
  int64_t offset = 0;
  for (const std::string& name : order) {
    if (name == kMetadataKey) throw IoError(cat(path.string(), ": a tensor cannot be named ", kMetadataKey));
    const TensorInfo& info = layout.at(name);
    const char* dtype = name_of(info.dtype, name, path);
    int64_t bytes = 0;
    int64_t end = 0;
    if (!byte_count(info.shape, info.dtype, bytes) || __builtin_add_overflow(offset, bytes, &end)) {
      throw IoError(cat(path.string(), ": tensor '", name, "' of shape ", shape_text(info.shape), " is too large"));
    }
    header[name] = {{"dtype", dtype}, {"shape", info.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', true);
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  if (static_cast<int64_t>(text.size()) > kMaxHeaderBytes) {
    throw IoError(cat(path.string(), ": header of ", text.size(), " bytes, at most ", kMaxHeaderBytes, " are allowed"));
  }
  return text;
}

/// Large tensors are copied by several threads: one core cannot fill fresh pages as fast as the memory takes them.
/// Small ones are not: on a busy machine waiting for the other threads costs more than the copy.
void copy_bytes(void* target, const uint8_t* source, int64_t bytes) {
  constexpr int64_t kGrain = int64_t{16} << 20;
  at::parallel_for(0, bytes, kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<uint8_t*>(target) + begin, source + begin, static_cast<size_t>(end - begin));
  });
}

bool is_pickle(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

[[noreturn]] void fail_pickle(const std::filesystem::path& file) {
  throw IoError(cat(file.string(), ": pickled weights are not read (loading them can run code); convert them to ",
                    "safetensors first, e.g. with save_pretrained(..., safe_serialization=True) of transformers"));
}

[[noreturn]] void fail_no_weights(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::vector<std::filesystem::path> pickles;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (is_pickle(entry.path())) pickles.push_back(entry.path());
  }
  if (!pickles.empty()) fail_pickle(*std::min_element(pickles.begin(), pickles.end()));
  throw IoError(cat(folder.string(), ": holds neither model.safetensors nor model.safetensors.index.json"));
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path)
    : path_(path), file_(std::make_shared<base::MappedFile>(path)) {
  const std::string_view text = header_text(*file_, path);
  data_start_ = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t data_bytes = static_cast<int64_t>(file_->size()) - data_start_;
  const nlohmann::json header = parse_json(text, cat(path.string(), " (header)"));
  const EntryParser parser(path_, data_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = parse_metadata(entry, path);
    } else {
      tensors_.emplace(name, parser.parse(name, entry));
    }
  }
  check_tiling(tensors_, data_bytes, path);
}

at::Tensor SafetensorsReader::read(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw IoError(cat(path_.string(), ": has no tensor '", name, "'"));
  const TensorInfo& info = found->second;
  at::Tensor tensor = at::empty(info.shape, at::TensorOptions().dtype(info.dtype));
  const uint8_t* source = file_->data() + data_start_ + info.begin;
  copy_bytes(tensor.data_ptr(), source, info.end - info.begin);
  drop_pages(source, info.end - info.begin);
  return tensor;
}

void write_safetensors_streamed(const std::filesystem::path& path, const std::map<std::string, TensorInfo>& layout,
                                const std::function<at::Tensor(const std::string&)>& make,
                                const std::map<std::string, std::string>& metadata) {
  const std::vector<std::string> order = data_order(layout);
  const std::string header = build_header(layout, order, metadata, path);
  const auto length = static_cast<uint64_t>(header.size());
  base::AtomicFile file(path);
  file.append(&length, sizeof(length));
  file.append(header);
  for (const std::string& name : order) {
    const TensorInfo& info = layout.at(name);
    const at::Tensor tensor = make(name).to(at::kCPU).contiguous();
    if (tensor.scalar_type() != info.dtype || tensor.sizes() != at::IntArrayRef(info.shape)) {
      throw IoError(cat(path.string(), ": tensor '", name, "' was made as ", at::toString(tensor.scalar_type()), " ",
                        shape_text(tensor.sizes().vec()), ", announced as ", at::toString(info.dtype), " ",
                        shape_text(info.shape)));
    }
    file.append(tensor.const_data_ptr(), tensor.nbytes());
  }
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::map<std::string, TensorInfo> layout;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw IoError(cat(path.string(), ": tensor '", name, "' is undefined"));
    layout[name] = TensorInfo{tensor.scalar_type(), tensor.sizes().vec(), 0, 0};
  }
  write_safetensors_streamed(
      path, layout, [&](const std::string& name) { return tensors.at(name); }, metadata);
}

TensorSource::TensorSource(const std::filesystem::path& folder_or_file) : path_(folder_or_file) {
  const std::filesystem::path single = path_ / "model.safetensors";
  const std::filesystem::path index = path_ / "model.safetensors.index.json";
  if (!std::filesystem::exists(path_)) throw IoError(cat(path_.string(), ": no such file or folder"));
  if (!std::filesystem::is_directory(path_)) {
    if (is_pickle(path_)) fail_pickle(path_);
    open_file(path_);
  } else if (std::filesystem::exists(single)) {
    open_file(single);
  } else if (std::filesystem::exists(index)) {
    open_shards(index);
  } else {
    fail_no_weights(path_);
  }
}

void TensorSource::open_file(const std::filesystem::path& file) {
  files_.push_back(std::make_unique<SafetensorsReader>(file));
  for (const auto& [name, info] : files_.back()->tensors()) where_[name] = files_.size() - 1;
}

void TensorSource::open_shards(const std::filesystem::path& index) {
  const nlohmann::json json = read_json(index);
  const auto weight_map = json.is_object() ? json.find("weight_map") : json.end();
  if (weight_map == json.end() || !weight_map->is_object()) {
    throw IoError(cat(index.string(), ": has no object 'weight_map'"));
  }
  std::map<std::string, size_t> opened;
  for (const auto& [name, file] : weight_map->items()) {
    if (!file.is_string()) throw IoError(cat(index.string(), ": tensor '", name, "' has no file name"));
    const std::filesystem::path shard = file.get<std::string>();
    const std::filesystem::path normal = shard.lexically_normal();
    if (shard.empty() || shard.is_absolute() || *normal.begin() == "..") {
      throw IoError(cat(index.string(), ": tensor '", name, "' is said to be in '", shard.string(),
                        "', which is outside the folder"));
    }
    const auto [place, is_new] = opened.emplace(normal.string(), files_.size());
    if (is_new) files_.push_back(std::make_unique<SafetensorsReader>(path_ / normal));
    if (!files_[place->second]->has(name)) {
      throw IoError(cat(index.string(), ": tensor '", name, "' is not in '", shard.string(), "'"));
    }
    where_[name] = place->second;
  }
}

std::vector<std::string> TensorSource::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : where_) names.push_back(name);
  return names;
}

const SafetensorsReader& TensorSource::reader_of(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end()) throw IoError(cat(path_.string(), ": has no tensor '", name, "'"));
  return *files_[found->second];
}

const TensorInfo& TensorSource::info(const std::string& name) const { return reader_of(name).tensors().at(name); }

at::Tensor TensorSource::read(const std::string& name) const { return reader_of(name).read(name); }

}  // namespace rqat::io
