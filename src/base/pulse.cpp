#include "rqat/base/pulse.h"

#include <atomic>

#include "fault_point.h"

namespace rqat::base {

namespace {

std::atomic<int64_t> count{0};
std::atomic<int> sections{0};

}  // namespace

void pulse() { count.fetch_add(1, std::memory_order_relaxed); }
int64_t pulses() { return count.load(std::memory_order_relaxed); }

PulseSection::PulseSection() {
  ++sections;
  spin_point();
}

PulseSection::~PulseSection() { --sections; }

bool in_pulse_section() { return sections > 0; }

}  // namespace rqat::base
