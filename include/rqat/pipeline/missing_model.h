// What to do about a model path that leads nowhere.
#pragma once

#include <filesystem>
#include <string>

namespace rqat::pipeline {

/// The end of a message about `path`, which does not exist: a path near it that does, or, for a name as the Hugging
/// Face hub has them (ORG/NAME), how to fetch it. Empty when there is nothing to say.
std::string missing_model_advice(const std::filesystem::path& path);

}  // namespace rqat::pipeline
