// What several commands share.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rqat/base/scratch.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::cli {

/// "rqat 0.1.0 (LibTorch 2.11.0)".
std::string version_text();

/// The command line of this process for a shell, without the options named.
std::string command_without(const std::vector<std::string>& options);

/// CPU cores this process may use: its affinity mask, and the quota of its control group.
int usable_cores();

/// Throws UsageError when `folder` holds something already, unless `overwrite` is set and it has one of `marks`, which
/// tell the folders that a command writes; and when one of the command's `inputs` lies in it, or it in one of them.
void require_free(const std::filesystem::path& folder, bool overwrite,
                  const std::vector<std::filesystem::path>& inputs = {},
                  const std::vector<std::string>& marks = {"config.json", "stage.json", "model.gguf"});

/// Seconds of a steady clock.
double seconds_now();

using base::ScratchFolder;

/// `model` itself, or for a GGUF file the folder below `scratch` into which it is imported. Throws IoError when it is
/// not there.
std::filesystem::path as_model_folder(const std::filesystem::path& model, const ScratchFolder& scratch);

/// Rows of cells as aligned text; the first row is the heading. Columns named in `right` (from 0) are aligned right.
std::string table_text(const std::vector<std::vector<std::string>>& rows, const std::vector<size_t>& right = {});

}  // namespace rqat::cli
