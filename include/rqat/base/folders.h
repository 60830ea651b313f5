// Folders of a run: made, emptied and removed so that a killed program never leaves half of one under its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace rqat::base {

/// Makes the folder and its parents. Throws IoError.
void make_folders(const std::filesystem::path& path);

/// Removes a folder, or nothing when there is none: it loses its name at once, its content afterwards. Throws IoError.
void remove_folder(const std::filesystem::path& path);

/// Removes what a killed program left directly in `folder`: temporary files of AtomicFile whose process is gone,
/// and folders that write_folder or remove_folder did not finish. Throws IoError.
void remove_leftovers(const std::filesystem::path& folder);
/// The same where others keep files too: of folders only those called by one of `names`.
void remove_leftovers(const std::filesystem::path& folder, const std::vector<std::string>& names);
/// Whether there is nothing in a folder but what remove_leftovers() removes; true of one that does not exist.
bool holds_nothing(const std::filesystem::path& folder);

/// Whether `path` is `folder` or something in it, as far as links and relative parts can be resolved.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder);

/// Waits until the content of a file is on the disk. Throws IoError.
void sync_file(const std::filesystem::path& path);

/// "1.2 MiB free in DIR" for the file system that holds `path`, whether or not `path` exists.
std::string free_space_text(const std::filesystem::path& path);

}  // namespace rqat::base
