#include "dist/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rqat::dist {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kHosts{"a", "b", "c"};

TEST(Watchdog, BeatsReadBackAsWritten) {
  const Beat read = read_beat(beat_text({7, 12, true, 3.5, 0.5, "barrier 'step 7'", 6.5, 2}));
  EXPECT_EQ(read.count, 7);
  EXPECT_EQ(read.sequence, 12);
  EXPECT_TRUE(read.waiting);
  EXPECT_DOUBLE_EQ(read.seconds, 3.5);
  EXPECT_DOUBLE_EQ(read.idle_seconds, 0.5);
  EXPECT_EQ(read.place, "barrier 'step 7'");
  EXPECT_DOUBLE_EQ(read.pause_seconds, 6.5);
  EXPECT_DOUBLE_EQ(read.longest_pause, 2);
}

TEST(Watchdog, NothingStallsWhileRanksWork) {
  // Rank 1 works long before it comes to the collective the others wait in.
  EXPECT_EQ(stall_text({{9, 5, true, 100, 0, "sum"}, {9, 4, false, 100, 0, "sum"}, {9, 5, true, 90, 0, "sum"}}, kHosts,
                       {1800, 20, 20}),
            "");
  // Nobody waits: idle ranks may read files.
  EXPECT_EQ(stall_text({{9, 5, false, 50, 50, "sum"}, {9, 5, false, 50, 50, "sum"}}, kHosts, {1800, 20, 20}), "");
}

TEST(Watchdog, ARankThatComputesNothingHangs) {
  const std::string text =
      stall_text({{9, 5, true, 25, 0, "barrier 'x'"}, {9, 4, false, 26, 24, "sum"}}, kHosts, {1800, 20, 20});
  EXPECT_THAT(text, HasSubstr("rank 1 on b hangs"));
  EXPECT_THAT(text, HasSubstr("barrier 'x'"));
  EXPECT_THAT(text, HasSubstr("last seen after sum"));
}

TEST(Watchdog, ARankThatComputesToNoEndHangs) {
  const auto text = [](double waited, double pause, double longest_pause) {
    return stall_text({{9, 5, true, waited, 0, "sum"}, {9, 4, false, 300, 0, "sum", pause, longest_pause}}, kHosts,
                      {1800, 20, 20});
  };
  EXPECT_THAT(text(25, 24, 0.5), HasSubstr("rank 1 on b hangs: it computes, but nothing has come of it for 24 s"));
  EXPECT_THAT(text(25, 24, 0.5), HasSubstr("RQAT_STALL_TIMEOUT 20 s"));
  EXPECT_EQ(text(25, 3, 0.5), "") << "it gets on";
  EXPECT_EQ(text(3, 24, 0.5), "") << "nobody has waited long";
  EXPECT_EQ(text(25, 24, 7), "") << "it has paused for long before, and went on";
  EXPECT_THAT(text(40, 30, 7), HasSubstr("rank 1 on b hangs"));
}

TEST(Watchdog, TheLimitOfCollectivesNamesThoseWhoDidNotCome) {
  const std::string text = stall_text(
      {{9, 5, true, 61, 0, "sum"}, {9, 5, true, 60, 0, "sum"}, {9, 4, false, 61, 0, "sum"}}, kHosts, {60, 20, 20});
  EXPECT_THAT(text, HasSubstr("rank 2 on c"));
  EXPECT_THAT(text, HasSubstr("did not come to sum"));
  EXPECT_THAT(stall_text({{9, 5, true, 61, 0, "sum"}, {9, 5, true, 61, 0, "sum"}}, kHosts, {60, 20, 20}),
              HasSubstr("all ranks wait since 61 s in sum"));
}

}  // namespace
}  // namespace rqat::dist
