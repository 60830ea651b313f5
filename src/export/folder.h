// The folder around the weights: config, generation config, tokenizer and template.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace rqat::exporting {

/// Writes `folder` atomically: the model files of `source` with config.json passed through `edit_config`, then what
/// `write_weights` adds. Throws IoError: `source` has no config.json; `folder` is or holds `source`, or is a folder
/// that is no model.
void write_model_folder(const std::filesystem::path& source, const std::filesystem::path& folder,
                        const std::function<void(nlohmann::json&)>& edit_config,
                        const std::function<void(const std::filesystem::path&)>& write_weights);

/// Writes `folder` atomically for formats that keep everything in one file, which `write_file` makes. Throws IoError as
/// above.
void write_single_file(const std::filesystem::path& source, const std::filesystem::path& folder,
                       const std::function<void(const std::filesystem::path&)>& write_file);

/// Sets the dtype that readers load the weights in, under the names that old and new transformers read.
void set_dtype(nlohmann::json& config, const std::string& dtype);

/// The path as one word of a shell command.
std::string shell_word(const std::filesystem::path& path);

}  // namespace rqat::exporting
