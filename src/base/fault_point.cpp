#include "fault_point.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>

namespace rqat::base {
namespace {

struct Plan {
  std::atomic<int64_t> at{0}, places{0};
  std::atomic<int64_t> spin_at{0}, sections{0};
  bool kill = false;
  Plan() {
    const char* text = std::getenv("RQAT_FAULT");
    if (text == nullptr) return;
    const std::string value(text);
    const size_t colon = value.find(':');
    const int64_t number = colon == std::string::npos ? 0 : std::atoll(value.c_str() + colon + 1);
    kill = value.substr(0, colon) == "kill";
    (value.substr(0, colon) == "spin" ? spin_at : at) = number;
  }
};

Plan& plan() {
  static Plan* const instance = new Plan;
  return *instance;
}

}  // namespace

int fault_point() {
  Plan& p = plan();
  if (p.at == 0) return 0;
  const int64_t place = ++p.places;
  if (place < p.at) return 0;
  if (p.kill) ::kill(::getpid(), SIGKILL);
  return ENOSPC;
}

void spin_point() {
  Plan& p = plan();
  if (p.spin_at == 0 || ++p.sections != p.spin_at) return;
  for (std::atomic<int64_t> rounds{0};;) ++rounds;
}

void set_disk_full_at(int64_t place) {
  plan().places = 0;
  plan().kill = false;
  plan().at = place;
}

}  // namespace rqat::base
