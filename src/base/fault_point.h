// Where files and folders are written, tests let the disk be full or the program be killed.
#pragma once

#include <cstdint>

namespace rqat::base {

/// Counts one more place where something is written. Returns the errno that the write is to fail with, 0 for none; may
/// not return at all. RQAT_FAULT=enospc:N lets the N-th place of the process, and all after it, find the disk full;
/// RQAT_FAULT=kill:N ends the process there by SIGKILL. Places are file creations, writes, syncs and renames.
int fault_point();

/// Counts one more section of work (rqat/base/pulse.h). RQAT_FAULT=spin:N lets the process compute forever in the N-th.
void spin_point();

/// The same as enospc by a call, counted from here on; at = 0 ends it.
void set_disk_full_at(int64_t place);

}  // namespace rqat::base
