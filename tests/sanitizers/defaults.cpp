// Options of the sanitizers, built into every program that is compiled with them: no test depends on its caller's
// environment. ASAN_OPTIONS, UBSAN_OPTIONS and TSAN_OPTIONS still override them.
#include <dlfcn.h>

#if !defined(__SANITIZE_ADDRESS__) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__  // GCC's name
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
// Leaks: LibTorch keeps its registries for ever. Container overflows: it is not instrumented, so a vector that grows on
// its side and is read on ours looks overflowed. Absurd sizes: an allocation fails, as it does without sanitizers.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:detect_container_overflow=0:detect_stack_use_after_return=1:strict_string_checks=1:"
         "allocator_may_return_null=1";
}

extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1"; }
#endif

#ifdef __SANITIZE_THREAD__
// Deadlocks are not looked for: mutexes that Gloo locks in its headers and releases inside its library count as held
// for ever, and 64 of them are too many.
extern "C" const char* __tsan_default_options() {
  return "halt_on_error=1:detect_deadlocks=0:history_size=4:suppressions=" RQAT_SOURCE_DIR
         "/tests/sanitizers/tsan.supp";
}

extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);

namespace {

struct ParallelRegion {
  void (*body)(void*);
  void* data;
};

void run_body(void* argument) {
  auto* region = static_cast<ParallelRegion*>(argument);
  __tsan_acquire(region);
  region->body(region->data);
  __tsan_release(region);
}

}  // namespace

// The OpenMP runtime is not instrumented: without this, every read of a result after a parallel loop looks like a race.
// What the threads of one loop do to each other is still seen.
extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  using Function = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto parallel = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  ParallelRegion region{body, data};
  __tsan_release(&region);
  parallel(run_body, &region, threads, flags);
  __tsan_acquire(&region);
}
#endif

// Referred to on the link line, which brings this file into every program.
extern "C" const int rqat_sanitizer_defaults = 1;
