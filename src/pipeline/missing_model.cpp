#include "rqat/pipeline/missing_model.h"

#include "rqat/base/strings.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;

/// "Qwen/Qwen3-0.6B": two parts, the first of which is no folder here.
bool is_hub_name(const fs::path& path) {
  const fs::path owner = path.parent_path();
  return !owner.empty() && !owner.has_parent_path() && owner != "." && owner != ".." && path.has_filename() &&
         !fs::exists(owner);
}

}  // namespace

std::string missing_model_advice(const fs::path& path) {
  if (is_hub_name(path)) {
    return cat("; models are not downloaded by themselves: `hf download ", path.string(), " --local-dir models/",
               path.filename().string(), "` fetches this one, if it is a name of the Hugging Face hub");
  }
  std::error_code ignored;
  std::vector<std::string> names;
  const fs::path parent = fs::absolute(path).parent_path();
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, ignored)) {
    if (entry.is_directory(ignored) || entry.path().extension() == ".gguf")
      names.push_back((path.parent_path() / entry.path().filename()).string());
  }
  const std::string near = base::nearest(path.string(), names);
  return near.empty() ? "" : cat("; did you mean '", near, "'?");
}

}  // namespace rqat::pipeline
