#include "rqat/io/event_file.h"

#include <gtest/gtest.h>

#include "io/temporary_folder.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"

namespace rqat::io {
namespace {

namespace fs = std::filesystem;

TEST(EventFile, Crc32cOfPublishedExamples) {  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(EventFile, BytesOfOneScalar) {
  const TemporaryFolder folder;
  EventWriter writer(folder.path() / "tb");
  const size_t head = base::read_file(files_in(folder.path() / "tb").at(0)).size();
  writer.scalars(300, {{"loss", 1.5}}, 2.0);
  const std::string bytes = base::read_file(files_in(folder.path() / "tb").at(0)).substr(head);
  // Worked out by hand from event.proto: wall_time 2.0, step 300, summary {value {tag "loss", simple_value 1.5}}.
  const std::string event(
      "\x09\x00\x00\x00\x00\x00\x00\x00\x40"
      "\x10\xAC\x02"
      "\x2A\x0D\x0A\x0B\x0A\x04loss\x15\x00\x00\xC0\x3F",
      27);
  ASSERT_EQ(bytes.size(), 8 + 4 + event.size() + 4);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x1B\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(12, event.size()), event);
}

TEST(EventFile, EveryWriterHasItsOwnFile) {
  const TemporaryFolder folder;
  { const EventWriter first(folder.path()); }
  { const EventWriter second(folder.path(), 7); }
  const std::vector<fs::path> files = files_in(folder.path());
  ASSERT_EQ(files.size(), 2u);
  EXPECT_LT(fs::file_size(files[0]), fs::file_size(files[1]));  // the second tells from which step on it counts
}

TEST(EventFile, NamesTheFileThatCannotBeWritten) {
  const TemporaryFolder folder;
  base::write_file(folder.path() / "tb", "a file");
  EXPECT_THROW(EventWriter(folder.path() / "tb"), base::IoError);
}

}  // namespace
}  // namespace rqat::io
