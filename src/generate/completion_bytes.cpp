#include "completion_bytes.h"

#include <cstring>
#include <stdexcept>

namespace rqat::generate {

namespace {

class Writer {
 public:
  void number(int64_t value) { append(&value, sizeof(value)); }
  template <class T>
  void list(const std::vector<T>& values) {
    number(static_cast<int64_t>(values.size()));
    append(values.data(), values.size() * sizeof(T));
  }
  std::string take() { return std::move(bytes_); }

 private:
  void append(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}
  int64_t number() {
    int64_t value = 0;
    copy(&value, sizeof(value));
    return value;
  }
  template <class T>
  std::vector<T> list() {
    std::vector<T> values(static_cast<size_t>(number()));
    copy(values.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  void copy(void* target, size_t size) {
    if (size > bytes_.size() - at_) throw std::logic_error("completions from another rank end too early");
    if (size > 0) std::memcpy(target, bytes_.data() + at_, size);
    at_ += size;
  }
  const std::string& bytes_;
  size_t at_ = 0;
};

}  // namespace

std::string to_bytes(const std::vector<std::vector<Completion>>& completions) {
  Writer out;
  out.number(static_cast<int64_t>(completions.size()));
  for (const std::vector<Completion>& group : completions) {
    out.number(static_cast<int64_t>(group.size()));
    for (const Completion& completion : group) {
      out.list(completion.ids);
      out.list(completion.log_probs);
      out.number(completion.finished ? 1 : 0);
    }
  }
  return out.take();
}

std::vector<std::vector<Completion>> from_bytes(const std::string& bytes) {
  Reader in(bytes);
  std::vector<std::vector<Completion>> completions(static_cast<size_t>(in.number()));
  for (std::vector<Completion>& group : completions) {
    group.resize(static_cast<size_t>(in.number()));
    for (Completion& completion : group) {
      completion.ids = in.list<int64_t>();
      completion.log_probs = in.list<float>();
      completion.finished = in.number() != 0;
    }
  }
  return completions;
}

}  // namespace rqat::generate
