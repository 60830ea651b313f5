#include "rqat/nn/parameter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace rqat::nn {
namespace {

Parameter parameter(const at::Tensor& compute) {
  Parameter made;
  made.name = "layer.weight";
  made.compute = compute;
  return made;
}

TEST(Parameter, Fp32MasterSharesMemoryWithCompute) {
  Parameter p = parameter(at::tensor({1.0f, 2.0f}));
  p.make_master();
  p.master.add_(1);
  p.refresh();
  EXPECT_TRUE(p.compute.equal(at::tensor({2.0f, 3.0f})));
  EXPECT_EQ(p.compute.const_data_ptr(), p.master.const_data_ptr());
}

TEST(Parameter, Bf16ComputeIsTheRoundedMaster) {
  Parameter p = parameter(at::tensor({1.0f, 2.0f}).to(at::kBFloat16));
  p.make_master();
  EXPECT_EQ(p.master.scalar_type(), at::kFloat);
  p.master.add_(0.001);  // bf16 near 1 has steps of 1/128: the master keeps what compute cannot
  p.refresh();
  EXPECT_EQ(p.compute[0].item<float>(), 1.0f);
  p.master.add_(0.01);
  p.refresh();
  EXPECT_EQ(p.compute[0].item<float>(), 1.0078125f);
}

TEST(Parameter, MasterIsMadeOnce) {
  Parameter p = parameter(at::tensor({1.0f}).to(at::kBFloat16));
  p.make_master();
  p.master.fill_(5);
  p.make_master();
  EXPECT_EQ(p.master.item<float>(), 5.0f);
}

TEST(Parameter, GradBufferIsFp32ZerosAndCleared) {
  Parameter p = parameter(at::ones({2, 3}, at::kBFloat16));
  p.zero_grad();
  EXPECT_FALSE(p.grad.defined());
  EXPECT_EQ(p.grad_buffer().scalar_type(), at::kFloat);
  EXPECT_EQ(p.grad_buffer().sizes(), (at::IntArrayRef{2, 3}));
  p.grad_buffer().add_(1);
  EXPECT_EQ(p.grad_buffer().sum().item<float>(), 6.0f);
  p.zero_grad();
  EXPECT_EQ(p.grad_buffer().sum().item<float>(), 0.0f);
}

TEST(Parameter, WithoutValueThrows) {
  Parameter p;
  EXPECT_FALSE(p.defined());
  EXPECT_THROW(p.make_master(), std::logic_error);
  EXPECT_THROW(p.grad_buffer(), std::logic_error);
}

TEST(Parameter, RoleNames) {
  EXPECT_STREQ(role_name(Role::kWeight), "weight");
  EXPECT_STREQ(role_name(Role::kZeroPoint), "zero_point");
  EXPECT_THROW(role_name(static_cast<Role>(99)), std::logic_error);
}

}  // namespace
}  // namespace rqat::nn
