// What a test that looks at memory has to know of the sanitizers.
#pragma once

#include <cstdint>

namespace rqat::test {

#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kKeptOfFreed = 256 << 20;  ///< bytes of freed memory that stay resident: the sanitizer's quarantine
#else
constexpr int64_t kKeptOfFreed = 0;
#endif

}  // namespace rqat::test
