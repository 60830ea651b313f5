// The course of a training loop: where it starts, when it evaluates and logs, what it tells after each step.
#pragma once

#include "rqat/base/interrupt.h"
#include "rqat/base/pulse.h"
#include "rqat/train/trainer.h"

namespace rqat::train {

/// `Loop` has step(number) -> Metrics, state() (all but the step), load_state() and finish().
template <class Loop>
void run_loop(Loop& loop, const LoopConfig& config, const Callbacks& callbacks) {
  int64_t first = 0;
  if (callbacks.start != nullptr) {
    loop.load_state(*callbacks.start);
    first = callbacks.start->step;
  }
  for (int64_t step = first; step < config.max_steps; ++step) {
    if (config.eval_steps > 0 && step > 0 && step % config.eval_steps == 0 && callbacks.on_evaluate)
      callbacks.on_evaluate(step);
    const Metrics metrics = [&] {
      const base::PulseSection steady;
      return loop.step(step);
    }();
    const bool log = step % config.logging_steps == 0 || step + 1 == config.max_steps;
    if (log && callbacks.on_metrics) callbacks.on_metrics(step, metrics);
    // Whichever rank was asked to stop: all stop after the same step.
    if (const double signal = callbacks.world->max(base::requested_stop()); signal > 0)
      base::request_stop(static_cast<int>(signal));
    if (!callbacks.on_step_end) continue;
    callbacks.on_step_end(step + 1, [&] {
      LoopState state = loop.state();
      state.step = step + 1;
      return state;
    });
  }
  loop.finish();
}

}  // namespace rqat::train
