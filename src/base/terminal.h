// The one terminal line that the progress bar and the log share.
#pragma once

#include <mutex>

namespace rqat::base {

/// Held while either of them writes to stderr.
std::mutex& terminal_mutex();
/// True while a bar stands on the present line; a log message wipes it first. Guarded by terminal_mutex().
bool& terminal_bar_shown();

}  // namespace rqat::base
