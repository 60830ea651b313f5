// Comparison with a stored text. RQAT_UPDATE_GOLDEN=1 writes the file anew: look at the difference before it is kept.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace rqat::golden {

inline void expect_golden(const std::string& name, const std::string& actual) {
  const std::filesystem::path file = std::filesystem::path(RQAT_SOURCE_DIR) / "tests" / "golden" / name;
  const char* update = std::getenv("RQAT_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    std::ofstream(file, std::ios::binary) << actual;
    GTEST_SKIP() << "wrote " << file;
  }
  std::ifstream in(file, std::ios::binary);
  ASSERT_TRUE(in) << file << " is missing; RQAT_UPDATE_GOLDEN=1 makes it";
  std::stringstream stored;
  stored << in.rdbuf();
  EXPECT_EQ(actual, stored.str()) << "differs from " << file << "; when that is meant, run with RQAT_UPDATE_GOLDEN=1";
}

}  // namespace rqat::golden
