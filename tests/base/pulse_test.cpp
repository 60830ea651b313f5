#include "rqat/base/pulse.h"

#include <gtest/gtest.h>

namespace rqat::base {
namespace {

TEST(Pulse, CountsAndKnowsItsSections) {
  const int64_t before = pulses();
  pulse();
  pulse();
  EXPECT_EQ(pulses(), before + 2);
  EXPECT_FALSE(in_pulse_section());
  {
    const PulseSection outer;
    { const PulseSection inner; }
    EXPECT_TRUE(in_pulse_section());
  }
  EXPECT_FALSE(in_pulse_section());
}

}  // namespace
}  // namespace rqat::base
