#include "rqat/ops/cpu.h"

#include <gtest/gtest.h>

#include "cpu/level.h"
#include "rqat/base/error.h"

namespace rqat::ops {
namespace {

TEST(CpuKernelsTest, RequestLowersTheLevelButNeverRaisesIt) {
  EXPECT_EQ(cpu::requested_kernels(nullptr, CpuKernels::kAvx512), CpuKernels::kAvx512);
  EXPECT_EQ(cpu::requested_kernels("", CpuKernels::kAvx2), CpuKernels::kAvx2);
  EXPECT_EQ(cpu::requested_kernels("portable", CpuKernels::kAvx512), CpuKernels::kPortable);
  EXPECT_EQ(cpu::requested_kernels("avx2", CpuKernels::kAvx512), CpuKernels::kAvx2);
  EXPECT_EQ(cpu::requested_kernels("avx512", CpuKernels::kPortable), CpuKernels::kPortable);
}

TEST(CpuKernelsTest, UnknownLevelIsRefusedWithTheAllowedNames) {
  try {
    cpu::requested_kernels("avx1024", CpuKernels::kAvx512);
    FAIL() << "expected a ConfigError";
  } catch (const base::ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("RQAT_KERNELS"), std::string::npos) << text;
    EXPECT_NE(text.find("avx1024"), std::string::npos) << text;
    EXPECT_NE(text.find("portable, avx2 and avx512"), std::string::npos) << text;
  }
}

TEST(CpuKernelsTest, PortableLevelUsesNoBrgemm) {
  EXPECT_FALSE(cpu::has_bf16_brgemm(CpuKernels::kPortable));
  EXPECT_FALSE(cpu::has_bf16_brgemm(CpuKernels::kAvx2));
  EXPECT_FALSE(cpu::has_float_brgemm(CpuKernels::kPortable));
}

TEST(CpuKernelsTest, TextNamesLevelAndBrgemm) {
  const std::string text = cpu_kernels_text();
  const char* names[] = {"portable", "avx2", "avx512"};
  EXPECT_EQ(text.find(names[int(cpu_kernels())]), 0u) << text;
  EXPECT_NE(text.find(has_bf16_brgemm() ? "brgemm: yes" : "brgemm: no"), std::string::npos) << text;
}

}  // namespace
}  // namespace rqat::ops
