// Files and folders that must not outlive the program, however it ends.
#pragma once

#include <filesystem>
#include <string_view>

namespace rqat::base {

/// An empty folder of its own in the folder for temporary files, removed with the object, by a signal handled as below,
/// or, after a kill, by the next program that makes one.
class ScratchFolder {
 public:
  /// "import" makes rqat_import_PROCESS_COUNT. Throws IoError.
  explicit ScratchFolder(std::string_view purpose = "scratch");
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;  ///< held while the folder is in use: process numbers repeat, and differ between containers
};

/// Removes the scratch folders in `folder` that belong to this user and to no living process. Failures are passed over.
void remove_dead_scratch(const std::filesystem::path& folder);

/// From here to forget_unfinished(), a signal handled as below removes this file or folder. More than 64 at a time, and
/// names of more than 4095 bytes, are left to their owners.
void note_unfinished(const std::filesystem::path& path);
void forget_unfinished(const std::filesystem::path& path);

/// Removes all that is noted, by system calls alone: for signal handlers.
void remove_unfinished() noexcept;

/// SIGINT, SIGTERM and SIGHUP, where they are not ignored, first remove what is noted, then end the program as they do
/// without this.
void remove_unfinished_at_signals();

}  // namespace rqat::base
