#include "store.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/dist/world.h"

namespace rqat::dist {

namespace {

using base::cat;
using Seconds = std::chrono::duration<double>;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

/// A listening socket, so that "in use" is seen here and no other process takes the port in between.
int listen_on(int port) {
  const int socket = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool six = socket >= 0;
  const int chosen = six ? socket : ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1, no = 0;
  ::setsockopt(chosen, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  int result = 0;
  if (six) {
    ::setsockopt(chosen, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<uint16_t>(port));
    result = ::bind(chosen, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    result = ::bind(chosen, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  if (result == 0) result = ::listen(chosen, 1024);
  if (result == 0) return chosen;
  const int error = errno;
  ::close(chosen);
  if (error == EADDRINUSE) {
    throw base::IoError(cat("port ", port, " on ", host_name(),
                            " is in use: another job, or the rest of one that is ending; choose another with "
                            "MASTER_PORT or --rdzv-endpoint, or any free one with --standalone"));
  }
  throw base::IoError(cat("cannot listen on port ", port, " of ", host_name(), ": ", std::strerror(error),
                          "; choose another with MASTER_PORT or --rdzv-endpoint"));
}

uint16_t bound_port(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

/// "" when the port answers, else why it does not. LibTorch's own attempts print pages of warnings.
std::string probe(const std::string& address, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int code = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found); code != 0)
    return cat("the name does not resolve (", ::gai_strerror(code), ")");
  std::string cause = "no address";
  for (addrinfo* entry = found; entry != nullptr && !cause.empty(); entry = entry->ai_next) {
    const int socket = ::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    const timeval limit{3, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    const bool answered = ::connect(socket, entry->ai_addr, entry->ai_addrlen) == 0;
    cause = answered ? "" : errno == EINPROGRESS ? "no answer" : std::strerror(errno);
    ::close(socket);
  }
  ::freeaddrinfo(found);
  return cause;
}

std::string numeric(const sockaddr* address, socklen_t size) {
  char text[NI_MAXHOST] = {};
  const int code = ::getnameinfo(address, size, text, sizeof(text), nullptr, 0, NI_NUMERICHOST);
  return code == 0 ? text : "";
}

bool is_loopback(const std::string& address) { return base::starts_with(address, "127.") || address == "::1"; }

/// Source address of packets to `master`; nothing is sent.
std::string route_address(const std::string& master) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (::getaddrinfo(master.c_str(), "9", &hints, &found) != 0) return "";
  std::string address;
  for (addrinfo* entry = found; entry != nullptr && address.empty(); entry = entry->ai_next) {
    const int socket = ::socket(entry->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    if (::connect(socket, entry->ai_addr, entry->ai_addrlen) == 0 &&
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0) {
      address = numeric(reinterpret_cast<sockaddr*>(&own), size);
    }
    ::close(socket);
  }
  ::freeaddrinfo(found);
  return address;
}

std::string outer_address() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return "";
  std::string address;
  for (const ifaddrs* entry = all; entry != nullptr && address.empty(); entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_LOOPBACK) != 0 || (entry->ifa_flags & IFF_UP) == 0) continue;
    address = numeric(entry->ifa_addr, sizeof(sockaddr_in));
  }
  ::freeifaddrs(all);
  return address;
}

}  // namespace

c10::intrusive_ptr<c10d::TCPStore> host_store(int port) {
  const int socket = listen_on(port);
  c10d::TCPStoreOptions options;
  options.port = bound_port(socket);
  options.isServer = true;
  options.waitWorkers = false;
  options.masterListenFd = socket;
  try {
    return c10::make_intrusive<c10d::TCPStore>("localhost", options);
  } catch (const std::exception& error) {
    throw base::IoError(
        cat("cannot serve the store on port ", options.port, " of ", host_name(), ": ", short_text(error)));
  }
}

c10::intrusive_ptr<c10d::TCPStore> join_store(const std::string& address, int port, double timeout_seconds) {
  const auto deadline = std::chrono::steady_clock::now() + Seconds(timeout_seconds);
  std::string cause = probe(address, port);
  while (!cause.empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    cause = probe(address, port);
  }
  if (cause.empty()) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.waitWorkers = false;
    options.timeout = milliseconds(std::max(5.0, timeout_seconds));
    try {
      return c10::make_intrusive<c10d::TCPStore>(address, options);
    } catch (const std::exception& error) {
      cause = short_text(error);
    }
  }
  throw base::IoError(cat(host_name(), ": cannot reach the master ", address, ":", port, " within ",
                          base::format_fixed(timeout_seconds, 0), " s: ", cause,
                          "; check that rank 0 (or `rqat launch` of node rank 0) runs there, the address and port, and "
                          "that no firewall stands between"));
}

std::string value_or_empty(c10d::Store& store, const std::string& key) {
  return store.check({key}) ? store.get_to_str(key) : "";
}

bool wait_for(c10d::Store& store, const std::string& key, double timeout_seconds) {
  const auto deadline = std::chrono::steady_clock::now() + Seconds(timeout_seconds);
  while (!store.check({key})) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::string short_text(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  const std::string text = torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

std::string key_prefix(int attempt) { return cat("rqat/", attempt); }

std::string set_fault(c10d::Store& store, const std::string& text) {
  // One message may be longer than the store takes in good grace.
  return store.compareSet(kFaultKey, std::string(), text.substr(0, 4000));
}

std::string local_address(const std::string& master, bool far) {
  const std::string address = route_address(master);
  return far && (address.empty() || is_loopback(address)) ? outer_address() : address;
}

}  // namespace rqat::dist
