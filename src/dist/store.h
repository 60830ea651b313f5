// The key-value store through which ranks find each other, with errors that say what to do.
#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace rqat::dist {

using StorePtr = c10::intrusive_ptr<c10d::Store>;

/// A store served by this process. Port 0 = any free one. Throws IoError (port in use).
c10::intrusive_ptr<c10d::TCPStore> host_store(int port);

/// A connection to a store served elsewhere, tried again until `timeout_seconds`. Throws IoError (master not reached).
c10::intrusive_ptr<c10d::TCPStore> join_store(const std::string& address, int port, double timeout_seconds);

/// "" when the key is not there.
std::string value_or_empty(c10d::Store& store, const std::string& key);

/// Waits for `key` until the deadline; whether it came.
bool wait_for(c10d::Store& store, const std::string& key, double timeout_seconds);

/// First line of an error of LibTorch, without the trace.
std::string short_text(const std::exception& error);

/// The prefix of all keys of one attempt of a job.
std::string key_prefix(int attempt);

/// Key of the first fault: "rank 2 on host-b: cause".
inline constexpr const char* kFaultKey = "fault";

/// Sets the job's fault unless there is one; returns the one that counts.
std::string set_fault(c10d::Store& store, const std::string& text);

/// This machine's address on the way to `master`; another of its addresses when that is the loopback and `far` (ranks
/// on other hosts). Empty when it has none.
std::string local_address(const std::string& master, bool far);

}  // namespace rqat::dist
