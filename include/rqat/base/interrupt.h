// Ctrl-C and SIGTERM: inside a StopSection they ask for an orderly stop, elsewhere they end the program at once.
#pragma once

#include <stdexcept>
#include <string>

namespace rqat::base {

/// A run that was asked to stop and did, after saving its work. The program exits with 128 + signal().
class Interrupted : public std::runtime_error {
 public:
  Interrupted(int signal, const std::string& message) : std::runtime_error(message), signal_(signal) {}
  int signal() const { return signal_; }

 private:
  int signal_;
};

/// Installs the handlers of SIGINT and SIGTERM. Outside of StopSections, or when asked for the second time, the program
/// prints `message` and exits with 128 + signal.
void handle_stop_signals(const std::string& message);

/// While one exists, the first signal only sets requested_stop(): the work in progress saves itself and throws
/// Interrupted.
class StopSection {
 public:
  StopSection();
  ~StopSection();
  StopSection(const StopSection&) = delete;
  StopSection& operator=(const StopSection&) = delete;
};

/// The signal that asked for a stop, 0 when none did.
int requested_stop();
/// Asks for a stop as a signal does (another rank was asked); 0 takes the request back.
void request_stop(int signal);

}  // namespace rqat::base
