// Signs that the computing thread gets on with its work, by which a job of several ranks tells a slow rank from one
// that hangs in a loop.
#pragma once

#include <cstdint>

namespace rqat::base {

/// Another piece of work is done: a layer, a tile of logits, an answer.
void pulse();
/// Pulses so far.
int64_t pulses();

/// While one exists, pulses follow each other within seconds, unless this process waits for others or hangs.
class PulseSection {
 public:
  PulseSection();
  ~PulseSection();
  PulseSection(const PulseSection&) = delete;
  PulseSection& operator=(const PulseSection&) = delete;
};

bool in_pulse_section();

}  // namespace rqat::base
