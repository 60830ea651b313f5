#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

// cpu.h says which kernels run; it is no op.
TEST(OpsDefTest, EveryOpHasItsHeaderAndSourceAndNoneIsLeftOut) {
  const fs::path root = RQAT_SOURCE_DIR;
  std::set<std::string> listed, headers;
#define RQAT_OP(name) listed.insert(#name);
#include "ops.def"
#undef RQAT_OP
  for (const std::string& name : listed) EXPECT_TRUE(fs::exists(root / "kernels" / (name + ".cpp"))) << name;
  for (const auto& entry : fs::directory_iterator(root / "include/rqat/ops"))
    if (entry.path().stem() != "cpu") headers.insert(entry.path().stem());
  EXPECT_EQ(listed, headers);
}

}  // namespace
