#include "cli/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "program.h"
#include "rqat/base/error.h"

namespace rqat::cli {
namespace {

using ::testing::HasSubstr;

int exit_code(const std::exception& error, std::string& message) {
  ::testing::internal::CaptureStderr();
  const int code = explain_failure(error);
  message = ::testing::internal::GetCapturedStderr();
  return code;
}

TEST(ExplainFailure, CodesAndMessages) {
  std::string message;
  EXPECT_EQ(exit_code(base::ConfigError("a"), message), 2);
  EXPECT_EQ(message, "rqat: error: a\n");
  EXPECT_EQ(exit_code(base::UsageError("b"), message), 2);
  EXPECT_EQ(exit_code(base::DataError("c"), message), 1);
  EXPECT_EQ(exit_code(base::IoError("d"), message), 1);
  EXPECT_EQ(exit_code(std::logic_error("e"), message), 1);
  EXPECT_EQ(exit_code(std::bad_alloc(), message), 1);
  EXPECT_THAT(message, HasSubstr("max_tokens_per_micro_batch"));
}

TEST(ExplainFailure, LibTorchErrorsComeWithoutTheirBacktrace) {
  std::string message;
  try {
    TORCH_CHECK_VALUE(false, "[op] expected 3, got 4");
  } catch (const std::exception& error) {
    EXPECT_EQ(exit_code(error, message), 1);
  }
  EXPECT_THAT(message, HasSubstr("[op] expected 3, got 4"));
  EXPECT_EQ(message.find("frame #"), std::string::npos) << message;
}

TEST(TableText, AlignsByCharacters) {
  EXPECT_EQ(table_text({{"a", "bb"}, {"caf\xc3\xa9", "1"}}, {1}), "a     bb\ncaf\xc3\xa9   1\n");
}

TEST(ScratchFolder, IsItsOwnAndGoesAway) {
  fs::path first;
  {
    const ScratchFolder a, b;
    first = a.path();
    EXPECT_NE(a.path(), b.path());
    EXPECT_TRUE(fs::is_directory(first));
  }
  EXPECT_FALSE(fs::exists(first));
}

TEST(RequireFree, OnlyModelFoldersAreReplaced) {
  const Workplace work;
  EXPECT_NO_THROW(require_free(work / "new", false));
  fs::create_directories(work / "empty");
  EXPECT_NO_THROW(require_free(work / "empty", false));
  work.write("model/config.json", "{}");
  EXPECT_THROW(require_free(work / "model", false), base::UsageError);
  EXPECT_NO_THROW(require_free(work / "model", true));
  work.write("mine/notes.txt", "x");
  EXPECT_THROW(require_free(work / "mine", true), base::UsageError);
  EXPECT_THROW(require_free(work / "model", true, {}, {"results.json"}), base::UsageError);
  work.write("all/model/config.json", "{}");
  work.write("all/config.json", "{}");
  for (const auto& [folder, input] : {std::pair{"model", "model"}, {"all", "all/model"}, {"all/model", "all"}})
    EXPECT_THROW(require_free(work / folder, true, {work / input}), base::UsageError) << folder;
  EXPECT_NO_THROW(require_free(work / "all/model", true, {work / "model"}));
}

TEST(UsableCores, AtLeastOne) { EXPECT_GE(usable_cores(), 1); }

}  // namespace
}  // namespace rqat::cli
