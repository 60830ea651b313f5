#include "rqat/base/strings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>

namespace rqat::base {
namespace {

TEST(Strings, CatJoinsWhateverStreams) { EXPECT_EQ(cat("rows ", 3, " of ", 5.5, '!'), "rows 3 of 5.5!"); }

TEST(Strings, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,,b,", ','), (std::vector<std::string>{"a", "", "b", ""}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
}

TEST(Strings, JoinTrimReplace) {
  EXPECT_EQ(join({"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_TRUE(starts_with("model.layers", "model."));
  EXPECT_FALSE(starts_with("mod", "model"));
  EXPECT_EQ(replace_all("aXXbX", "X", "XY"), "aXYXYbXY");
  EXPECT_EQ(replace_all("abc", "", "z"), "abc");
}

TEST(Strings, FormatDoubleReadsBackExactly) {
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(1e-5), "1e-05");
  EXPECT_EQ(format_double(3), "3.0");
  EXPECT_EQ(format_double(-0.0), "-0.0");
  EXPECT_EQ(format_double(std::numeric_limits<double>::infinity()), "inf");
  for (const double value : {1.0 / 3, 2e-308, 5e-324, 1.7976931348623157e308, -123456789.125, 1e22}) {
    EXPECT_EQ(std::strtod(format_double(value).c_str(), nullptr), value);
  }
}

TEST(Strings, FormatFixedBytesDuration) {
  EXPECT_EQ(format_fixed(3.14159, 2), "3.14");
  EXPECT_EQ(format_fixed(-2.5, 0), "-2");  // half to even
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(1048575), "1.0 MiB");
  EXPECT_EQ(format_bytes(int64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(format_duration(3725), "1:02:05");
  EXPECT_EQ(format_duration(65), "1:05");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(-1), "0:00");
  EXPECT_EQ(format_duration(std::nan("")), "?");
}

TEST(Strings, EditDistance) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("same", "same"), 0);
}

TEST(Strings, NearestSuggestsOnlyWhatIsNear) {
  const std::vector<std::string> names = {"learning_rate", "weight_decay", "beta1"};
  EXPECT_EQ(nearest("learnig_rate", names), "learning_rate");
  EXPECT_EQ(nearest("beta", names), "beta1");
  EXPECT_EQ(nearest("tokenizer", names), "");
  EXPECT_EQ(nearest("xy", {"ab"}), "");
  EXPECT_EQ(nearest("a", {}), "");
}

// Resume hashes and random streams stand on these values: they may never change.
TEST(Strings, StableHashIsPinned) {
  EXPECT_EQ(hex64(stable_hash("")), "f52a15e9a9b5e89b");
  EXPECT_EQ(hex64(stable_hash("rqat")), "1455954ecfc3817a");
  EXPECT_EQ(hex64(stable_hash("a text longer than sixteen bytes", 7)), "ee6e57ebfd452d77");
}

TEST(Strings, StableHashTellsNeighborsApart) {
  std::set<uint64_t> seen;
  std::string text(40, 'a');
  for (size_t i = 0; i < text.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      seen.insert(stable_hash(changed));
    }
  }
  for (size_t length = 0; length <= 64; ++length) seen.insert(stable_hash(std::string(length, '\0')));
  for (uint64_t seed = 1; seed <= 100; ++seed) seen.insert(stable_hash(text, seed));
  EXPECT_EQ(seen.size(), 40u * 8 + 65 + 100);
}

TEST(Strings, Hex64HasSixteenDigits) {
  EXPECT_EQ(hex64(0), "0000000000000000");
  EXPECT_EQ(hex64(0xdeadbeef01234567), "deadbeef01234567");
}

}  // namespace
}  // namespace rqat::base
