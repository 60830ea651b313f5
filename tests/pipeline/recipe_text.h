// A folder of recipe files for one test, and a tiny model to run them on.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "support/messages.h"

namespace rqat::pipeline {

class RecipeFolder {
 public:
  RecipeFolder() {
    // Every file of a run is fsynced, which takes seconds on a disk that is busy; memory is at once.
    const std::filesystem::path memory = "/dev/shm";
    const bool has_memory = ::access(memory.c_str(), W_OK) == 0;
    std::string pattern =
        ((has_memory ? memory : std::filesystem::temp_directory_path()) / "rqat_recipe_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~RecipeFolder() { std::filesystem::remove_all(path_); }
  RecipeFolder(const RecipeFolder&) = delete;
  RecipeFolder& operator=(const RecipeFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }

 private:
  std::filesystem::path path_;
};

using test::expect_contains;
using test::message_of;

}  // namespace rqat::pipeline
