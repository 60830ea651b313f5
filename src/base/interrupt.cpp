#include "rqat/base/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "rqat/base/scratch.h"

namespace rqat::base {
namespace {

constexpr char kStopping[] = "\nrqat: finishing this step, then saving; press Ctrl-C again to quit at once\n";

std::atomic<int> requested{0};
std::atomic<int> sections{0};
// Read by the handler, which may not call anything that allocates; never freed.
std::atomic<const std::string*> last_words{nullptr};

void print(const char* text, size_t size) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text, size);
}

void on_signal(int signal) {
  if (sections > 0 && requested == 0) {
    requested = signal;
    print(kStopping, sizeof kStopping - 1);
    return;
  }
  if (const std::string* text = last_words) print(text->data(), text->size());
  remove_unfinished();
  ::_exit(128 + signal);
}

}  // namespace

void handle_stop_signals(const std::string& message) {
  last_words = new std::string("\n" + message + "\n");
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

StopSection::StopSection() { ++sections; }
StopSection::~StopSection() { --sections; }

int requested_stop() { return requested; }
void request_stop(int signal) { requested = signal; }

}  // namespace rqat::base
