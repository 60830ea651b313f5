// Puts GGUF files together byte by byte, from the format's description.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace rqat::io {

class GgufBuilder {
 public:
  template <class T>
  static std::string bytes_of(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static std::string text_bytes(const std::string& text) { return bytes_of<uint64_t>(text.size()) + text; }

  /// `type` is the id of the value type, `value` its bytes.
  GgufBuilder& raw(const std::string& key, uint32_t type, const std::string& value) {
    entries_ += text_bytes(key) + bytes_of(type) + value;
    ++entry_count_;
    return *this;
  }
  GgufBuilder& text(const std::string& key, const std::string& value) { return raw(key, 8, text_bytes(value)); }
  GgufBuilder& integer(const std::string& key, uint32_t value) { return raw(key, 4, bytes_of(value)); }
  GgufBuilder& number(const std::string& key, float value) { return raw(key, 6, bytes_of(value)); }
  GgufBuilder& boolean(const std::string& key, bool value) { return raw(key, 7, bytes_of<uint8_t>(value)); }
  GgufBuilder& array(const std::string& key, uint32_t type, const std::vector<std::string>& values) {
    std::string joined;
    for (const auto& value : values) joined += value;
    return raw(key, 9, bytes_of(type) + bytes_of<uint64_t>(values.size()) + joined);
  }
  GgufBuilder& texts(const std::string& key, const std::vector<std::string>& values) {
    std::vector<std::string> encoded;
    for (const auto& value : values) encoded.push_back(text_bytes(value));
    return array(key, 8, encoded);
  }
  GgufBuilder& integers(const std::string& key, const std::vector<int32_t>& values) {
    std::vector<std::string> encoded;
    for (const auto value : values) encoded.push_back(bytes_of(value));
    return array(key, 5, encoded);
  }

  /// `shape` as in PyTorch; `data` are the stored bytes.
  GgufBuilder& tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type,
                      const std::string& data) {
    data_.append((kAlignment - data_.size() % kAlignment) % kAlignment, '\0');
    return tensor_at(name, shape, type, data_.size(), data);
  }
  GgufBuilder& tensor_at(const std::string& name, const std::vector<int64_t>& shape, uint32_t type, uint64_t offset,
                         const std::string& data) {
    infos_ += text_bytes(name) + bytes_of(static_cast<uint32_t>(shape.size()));
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) infos_ += bytes_of(*size);
    infos_ += bytes_of(type) + bytes_of(offset);
    data_ += data;
    ++tensor_count_;
    return *this;
  }

  std::string head() const {
    std::string file =
        "GGUF" + bytes_of(version) + bytes_of(tensor_count_) + bytes_of(entry_count_) + entries_ + infos_;
    file.append((kAlignment - file.size() % kAlignment) % kAlignment, '\0');
    return file;
  }
  std::string build() const { return head() + data_; }

  uint32_t version = 3;

 private:
  static constexpr size_t kAlignment = 32;
  std::string entries_, infos_, data_;
  uint64_t entry_count_ = 0, tensor_count_ = 0;
};

}  // namespace rqat::io
