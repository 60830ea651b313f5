// Checkpoints: folders that appear whole, with a state (JSON) and tensors by name (safetensors, in shards).
//
//   checkpoints/step-200/state-00001-of-00002.safetensors ...
//   checkpoints/step-200/manifest.json     written last: the state, and size and hash of every file
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "rqat/io/safetensors.h"

namespace rqat::io {

struct Checkpoint {
  std::string state = "{}";  ///< JSON
  TensorMap tensors;
};

/// Files grow up to this size, unless a single tensor is larger.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;

/// Writes into a temporary sibling, which then takes the name `path`. Throws IoError; then nothing stays.
void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint,
                      int64_t max_shard_bytes = kMaxShardBytes);

/// Throws IoError when a file is missing, has another size or content than the manifest says, or is of another format
/// version.
Checkpoint read_checkpoint(const std::filesystem::path& path);

struct CheckpointPlace {
  int64_t number = 0;
  std::filesystem::path path;
};

/// The checkpoints `folder`/`prefix`-N, by rising N; none when there is no folder.
std::vector<CheckpointPlace> list_checkpoints(const std::filesystem::path& folder, const std::string& prefix);

/// Writes checkpoints beside the computation: save() copies the tensors and returns, a thread does the rest. At most
/// one is being written; the next save() waits for it.
class CheckpointWriter {
 public:
  /// Keeps the `total_limit` newest (0 = all).
  CheckpointWriter(std::filesystem::path folder, std::string prefix, int64_t total_limit);
  ~CheckpointWriter();  ///< waits; an error not yet taken by check() or wait() is lost
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Throws what the save before failed with.
  void save(int64_t number, const Checkpoint& checkpoint);
  /// Throws what a save failed with, if it is over; never waits.
  void check();
  void wait();  ///< the same after waiting

 private:
  void write(int64_t number, const Checkpoint& checkpoint) const;
  std::filesystem::path folder_;
  std::string prefix_;
  int64_t total_limit_;
  std::future<void> pending_;
};

}  // namespace rqat::io
