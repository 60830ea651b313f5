#include "rqat/base/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace rqat::base {
namespace {

TEST(InterruptDeathTest, OutsideOfSectionsTheProgramEndsAtOnce) {
  EXPECT_EXIT(
      {
        handle_stop_signals("go on with: rqat train");
        ::raise(SIGTERM);
      },
      testing::ExitedWithCode(143), "go on with: rqat train");
}

TEST(InterruptDeathTest, InsideTheFirstSignalWaitsAndTheSecondEnds) {
  EXPECT_EXIT(
      {
        handle_stop_signals("bye");
        const StopSection section;
        ::raise(SIGTERM);
        if (requested_stop() == SIGTERM) ::raise(SIGINT);
      },
      testing::ExitedWithCode(130), "finishing this step, then saving(.|\n)*bye");
}

TEST(InterruptDeathTest, SectionsEnd) {
  EXPECT_EXIT(
      {
        handle_stop_signals("bye");
        { const StopSection section; }
        ::raise(SIGINT);
      },
      testing::ExitedWithCode(130), "^\nbye");
}

TEST(Interrupt, ARequestCanBeMadeAndTakenBack) {
  EXPECT_EQ(requested_stop(), 0);
  request_stop(SIGINT);
  EXPECT_EQ(requested_stop(), SIGINT);
  request_stop(0);
  EXPECT_EQ(requested_stop(), 0);
  EXPECT_EQ(Interrupted(SIGTERM, "why").signal(), SIGTERM);
}

}  // namespace
}  // namespace rqat::base
