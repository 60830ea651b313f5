#include "base/number_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace rqat::base {
namespace {

TEST(NumberText, Doubles) {
  EXPECT_EQ(parse_double("1.5"), 1.5);
  EXPECT_EQ(parse_double("+1e-4"), 1e-4);
  EXPECT_EQ(parse_double("-.5"), -0.5);
  EXPECT_EQ(parse_double("5."), 5);
  EXPECT_EQ(parse_double(".inf"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_double("-inf"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_double("1e999"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_double("1e-999"), 0);
  for (const char* text : {"", "+", "-", ".", "e5", "+-1", "--1", "1x", "1 ", " 1", "nan", ".nan", "0x10", "1_000",
                           "1,5", "infinity", "1e"}) {
    EXPECT_FALSE(parse_double(text)) << text;
  }
}

TEST(NumberText, Integers) {
  EXPECT_EQ(parse_integer("12"), 12);
  EXPECT_EQ(parse_integer("+12"), 12);
  EXPECT_EQ(parse_integer("-0"), 0);
  EXPECT_EQ(parse_integer("1e4"), 10000);
  EXPECT_EQ(parse_integer("2.0"), 2);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  for (const char* text : {"", "1.5", "9223372036854775808", "1e300", "inf", "0x10", "a", "1e-3"}) {
    EXPECT_FALSE(parse_integer(text)) << text;
  }
}

}  // namespace
}  // namespace rqat::base
