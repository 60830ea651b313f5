#include "rqat/io/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/folders.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"

namespace rqat::io {
namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr const char* kManifest = "manifest.json";

std::vector<TensorMap> make_shards(const TensorMap& tensors, int64_t max_bytes) {
  std::vector<TensorMap> shards(1);
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto size = static_cast<int64_t>(tensor.nbytes());
    if (!shards.back().empty() && bytes + size > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().emplace(name, tensor);
    bytes += size;
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "state-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

/// Throws when the file is not the one that the manifest describes.
void check_file(const fs::path& file, const json& entry) {
  if (!fs::is_regular_file(file))
    throw base::IoError(cat(file.string(), ": is missing; the checkpoint is not complete"));
  const auto bytes = static_cast<int64_t>(fs::file_size(file));
  const int64_t expected = entry.at("bytes");
  if (bytes != expected) {
    throw base::IoError(cat(file.string(), ": has ", bytes, " bytes, the manifest says ", expected));
  }
  if (base::content_hash(file) != entry.at("hash").get<std::string>()) {
    throw base::IoError(cat(file.string(), ": its content is not what was written (hash differs)"));
  }
}

}  // namespace

void write_checkpoint(const fs::path& path, const Checkpoint& checkpoint, int64_t max_shard_bytes) {
  const json state = parse_json(checkpoint.state, path.string());
  base::write_folder(path, [&](const fs::path& folder) {
    json files = json::object();
    const std::vector<TensorMap> shards = make_shards(checkpoint.tensors, max_shard_bytes);
    for (size_t i = 0; i < shards.size(); ++i) {
      const fs::path file = folder / shard_name(i, shards.size());
      write_safetensors(file, shards[i]);
      files[file.filename().string()] = {{"bytes", fs::file_size(file)}, {"hash", base::content_hash(file)}};
    }
    write_json(folder / kManifest, {{"format_version", kFormatVersion}, {"state", state}, {"files", files}});
  });
}

Checkpoint read_checkpoint(const fs::path& path) {
  const json manifest = read_json(path / kManifest);
  const auto malformed = [&](const std::string& what) {
    return base::IoError(cat((path / kManifest).string(), ": ", what));
  };
  if (!manifest.is_object() || manifest.value("format_version", json()) != kFormatVersion) {
    throw malformed("is not a checkpoint of this version of rqat");
  }
  Checkpoint checkpoint;
  try {
    checkpoint.state = manifest.at("state").dump();
    for (const auto& [name, entry] : manifest.at("files").items()) {
      if (name.empty() || name == "." || name == ".." || fs::path(name).filename() != name)
        throw malformed(cat("names the file '", name, "', which is not in its folder"));
      check_file(path / name, entry);
      const SafetensorsReader reader(path / name);
      for (const auto& [tensor, info] : reader.tensors()) checkpoint.tensors[tensor] = reader.read(tensor);
    }
  } catch (const json::exception& error) {
    throw malformed(error.what());
  }
  return checkpoint;
}

std::vector<CheckpointPlace> list_checkpoints(const fs::path& folder, const std::string& prefix) {
  std::vector<CheckpointPlace> places;
  std::error_code missing;
  const std::regex pattern(prefix + R"(-(\d{1,18}))");
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    const std::string name = entry.path().filename().string();
    std::smatch found;
    if (entry.is_directory() && std::regex_match(name, found, pattern)) {
      places.push_back({std::stoll(found[1]), entry.path()});
    }
  }
  std::sort(places.begin(), places.end(),
            [](const CheckpointPlace& a, const CheckpointPlace& b) { return a.number < b.number; });
  return places;
}

CheckpointWriter::CheckpointWriter(fs::path folder, std::string prefix, int64_t total_limit)
    : folder_(std::move(folder)), prefix_(std::move(prefix)), total_limit_(total_limit) {}

CheckpointWriter::~CheckpointWriter() {
  if (pending_.valid()) pending_.wait();
}

void CheckpointWriter::save(int64_t number, const Checkpoint& checkpoint) {
  wait();
  Checkpoint copy{checkpoint.state, {}};
  for (const auto& [name, tensor] : checkpoint.tensors) {
    copy.tensors[name] = tensor.is_cpu() ? tensor.clone() : tensor.to(at::kCPU);
  }
  pending_ = std::async(std::launch::async, [this, number, copy = std::move(copy)] { write(number, copy); });
}

void CheckpointWriter::check() {
  if (pending_.valid() && pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) pending_.get();
}

void CheckpointWriter::wait() {
  if (pending_.valid()) pending_.get();
}

void CheckpointWriter::write(int64_t number, const Checkpoint& checkpoint) const {
  write_checkpoint(folder_ / cat(prefix_, "-", number), checkpoint);
  if (total_limit_ == 0) return;
  const std::vector<CheckpointPlace> places = list_checkpoints(folder_, prefix_);
  for (size_t i = 0; i + static_cast<size_t>(total_limit_) < places.size(); ++i) base::remove_folder(places[i].path);
}

}  // namespace rqat::io
