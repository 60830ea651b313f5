#include "rqat/nn/functional.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/nn/rope.h"

namespace rqat::nn {
namespace {

at::Tensor leaf(at::IntArrayRef shape) { return at::randn(shape).set_requires_grad(true); }
at::Tensor copy_of(const at::Tensor& x) { return x.detach().clone().set_requires_grad(true); }
void expect_close(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_TRUE(a.defined() && b.defined());
  EXPECT_LT((a - b).abs().max().item<double>(), 2e-5 * (1 + b.abs().max().item<double>()));
}

TEST(Functional, RmsNormGradients) {
  at::manual_seed(1);
  Parameter weight;
  weight.compute = at::rand({16}) + 0.5;
  const at::Tensor x = leaf({4, 3, 16}), x2 = copy_of(x), w2 = copy_of(weight.compute), dy = at::randn({4, 3, 16});
  const at::Tensor y = rms_norm(x, weight, 1e-5);
  const at::Tensor y2 = x2 * (x2.square().mean(-1, true) + 1e-5).rsqrt() * w2;
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(x.grad(), x2.grad());
  expect_close(weight.grad, w2.grad());

  weight.trainable = false;
  weight.grad = at::Tensor();
  rms_norm(x, weight, 1e-5).backward(dy);
  EXPECT_FALSE(weight.grad.defined());
}

TEST(Functional, RopeRotatesHalvesAndBack) {
  at::manual_seed(2);
  const at::Tensor x = leaf({5, 2, 8}), x2 = copy_of(x), dy = at::randn({5, 2, 8});
  const auto [cos, sin] = rope_tables(at::arange(3, 8, at::kLong), rope_frequencies({.theta = 100}, 8, 64, at::kCPU));
  const at::Tensor y = rope(x, cos, sin);
  const at::Tensor low = x2.slice(-1, 0, 4), high = x2.slice(-1, 4, 8), c = cos.unsqueeze(1), s = sin.unsqueeze(1);
  const at::Tensor y2 = at::cat({low * c - high * s, high * c + low * s}, -1);
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(x.grad(), x2.grad());
}

TEST(Functional, RopeLeavesTheEndOfAHead) {
  at::manual_seed(2);
  const at::Tensor x = leaf({5, 2, 8}), x2 = copy_of(x), dy = at::randn({5, 2, 8});
  const auto [cos, sin] =
      rope_tables(at::arange(5, at::kLong), rope_frequencies({.theta = 100, .rotated_part = 0.5}, 8, 64, at::kCPU));
  const at::Tensor y = rope(x, cos, sin);
  const at::Tensor low = x2.slice(-1, 0, 2), high = x2.slice(-1, 2, 4), c = cos.unsqueeze(1), s = sin.unsqueeze(1);
  const at::Tensor y2 = at::cat({low * c - high * s, high * c + low * s, x2.slice(-1, 4)}, -1);
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(x.grad(), x2.grad());
}

TEST(Functional, RmsNormWithAnOffset) {
  at::manual_seed(6);
  Parameter weight;
  weight.compute = at::randn({16}) * 0.1;
  const at::Tensor x = leaf({4, 16}), x2 = copy_of(x), w2 = copy_of(weight.compute), dy = at::randn({4, 16});
  const at::Tensor y = rms_norm(x, weight, 1e-5, {.weight_offset = 1, .round_last = true});
  const at::Tensor y2 = x2 * (x2.square().mean(-1, true) + 1e-5).rsqrt() * (w2 + 1);
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(x.grad(), x2.grad());
  expect_close(weight.grad, w2.grad());
}

TEST(Functional, GatedByTheTanhFormOfGelu) {
  at::manual_seed(3);
  const at::Tensor gate = leaf({6, 10}), up = leaf({6, 10}), gate2 = copy_of(gate), up2 = copy_of(up),
                   dy = at::randn({6, 10});
  const at::Tensor inner = std::sqrt(2 / M_PI) * (gate2 + 0.044715 * gate2.pow(3));
  const at::Tensor y = gated(GatedActivation::kGeluTanh, gate, up), y2 = 0.5 * gate2 * (1 + inner.tanh()) * up2;
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(gate.grad(), gate2.grad());
  expect_close(up.grad(), up2.grad());
  EXPECT_TRUE(gated(GatedActivation::kSilu, gate, up).equal(silu_mul(gate, up)));
}

TEST(Functional, SiluMulGradients) {
  at::manual_seed(3);
  const at::Tensor gate = leaf({6, 10}), up = leaf({6, 10}), gate2 = copy_of(gate), up2 = copy_of(up),
                   dy = at::randn({6, 10});
  const at::Tensor y = silu_mul(gate, up), y2 = gate2 / (1 + (-gate2).exp()) * up2;
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(gate.grad(), gate2.grad());
  expect_close(up.grad(), up2.grad());
}

/// Attention written out with one dense mask over all tokens.
at::Tensor dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<ops::Segment>& segments) {
  const int64_t total = q.size(0), group = q.size(1) / k.size(1);
  at::Tensor hidden = at::ones({total, total}, at::kBool);
  for (const auto& segment : segments) {
    for (int64_t t = segment.begin; t < segment.end; ++t) {
      hidden[t].slice(0, segment.begin, t + 1).fill_(false);
      if (segment.parent < 0) continue;
      const auto& parent = segments[static_cast<size_t>(segment.parent)];
      hidden[t].slice(0, parent.begin, parent.end).fill_(false);
    }
  }
  const at::Tensor keys = k.repeat_interleave(group, 1).permute({1, 2, 0}),
                   values = v.repeat_interleave(group, 1).transpose(0, 1);
  const at::Tensor scores = at::matmul(q.transpose(0, 1), keys) / std::sqrt(static_cast<double>(q.size(2)));
  return at::matmul(scores.masked_fill(hidden, -INFINITY).softmax(-1), values).transpose(0, 1);
}

TEST(Functional, SegmentAttentionGradientsWithParents) {
  at::manual_seed(4);
  const std::vector<ops::Segment> segments{{0, 5, -1}, {5, 8, 0}, {8, 12, 0}, {12, 13, -1}};
  const at::Tensor q = leaf({13, 4, 8}), k = leaf({13, 2, 8}), v = leaf({13, 2, 8}), dy = at::randn({13, 4, 8});
  const at::Tensor q2 = copy_of(q), k2 = copy_of(k), v2 = copy_of(v);
  const at::Tensor y = nn::segment_attention(q, k, v, segments), y2 = dense_attention(q2, k2, v2, segments);
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(q.grad(), q2.grad());
  expect_close(k.grad(), k2.grad());
  expect_close(v.grad(), v2.grad());
}

TEST(Functional, SegmentAttentionPassesItsOptionsToTheBackward) {
  at::manual_seed(4);
  const at::Tensor q = leaf({9, 4, 8}), k = leaf({9, 2, 8}), v = leaf({9, 2, 8}), dy = at::randn({9, 4, 8});
  const at::Tensor q2 = copy_of(q), k2 = copy_of(k), v2 = copy_of(v);
  const at::Tensor y = nn::segment_attention(q, k, v, {{0, 9, -1}}, {.scale = 0.5, .softcap = 2, .window = 3});
  const at::Tensor keys = k2.repeat_interleave(2, 1).permute({1, 2, 0}), ones = at::ones({9, 9}, at::kBool);
  const at::Tensor scores = 2 * at::tanh(at::matmul(q2.transpose(0, 1), keys) * 0.5 / 2);
  const at::Tensor p = scores.masked_fill(ones.triu(1), -INFINITY).masked_fill(ones.tril(-3), -INFINITY).softmax(-1);
  const at::Tensor y2 = at::matmul(p, v2.repeat_interleave(2, 1).transpose(0, 1)).transpose(0, 1);
  expect_close(y, y2);
  y.backward(dy);
  y2.backward(dy);
  expect_close(q.grad(), q2.grad());
  expect_close(k.grad(), k2.grad());
  expect_close(v.grad(), v2.grad());
}

TEST(Functional, EmbeddingAddsIntoTheTableGradient) {
  at::manual_seed(5);
  Parameter table;
  table.name = "table";
  table.compute = at::randn({7, 3});
  const at::Tensor ids = at::tensor({2, 6, 2, 0}, at::kLong), dy = at::randn({4, 3});
  const at::Tensor y = embedding(ids, table);
  EXPECT_TRUE(y.requires_grad());
  EXPECT_TRUE(y.equal(table.compute.index_select(0, ids)));
  y.backward(dy);
  at::Tensor expected = at::zeros({7, 3});
  for (int64_t t = 0; t < 4; ++t) expected[ids[t].item<int64_t>()] += dy[t];
  expect_close(table.grad, expected);
}

TEST(Functional, FrozenEmbeddingStillStartsTheGraph) {
  Parameter table;
  table.compute = at::randn({7, 3}).to(at::kBFloat16);
  table.trainable = false;
  const at::Tensor ids = at::tensor({1, 2}, at::kLong);
  const at::Tensor y = embedding(ids, table);
  EXPECT_TRUE(y.requires_grad());
  y.sum().backward();
  EXPECT_FALSE(table.grad.defined());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(embedding(ids, table).requires_grad());
}

TEST(Functional, EmbeddingRefusesIdsOutsideTheTable) {
  Parameter table;
  table.name = "model.embed_tokens.weight";
  table.compute = at::zeros({7, 3});
  EXPECT_THROW(embedding(at::tensor({0, 7}, at::kLong), table), base::DataError);
  EXPECT_THROW(embedding(at::tensor({-1, 2}, at::kLong), table), base::DataError);
}

// Linears behind a norm or a gated product: the input is gone after the forward, and the gradients are those of
// autograd.
TEST(Functional, BackwardMakesInputsOfLinearsAgain) {
  at::manual_seed(8);
  Parameter norm, first, second, down;
  norm.compute = at::rand({8}) + 0.5;
  first.compute = at::randn({6, 8}), second.compute = at::randn({6, 8}), down.compute = at::randn({5, 6});
  const at::Tensor x = leaf({4, 8}), x2 = copy_of(x), dy = at::randn({4, 5});
  const auto apply = [](const at::Tensor& input, Parameter& weight) {
    return linear(input, weight.compute, {}, gradient_of(weight), {});
  };

  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> inputs;
  const auto seen = [&](const at::Tensor& input) {
    inputs.emplace_back(input.storage().getWeakStorageImpl());
    return input;
  };
  at::Tensor y;
  {
    const at::Tensor normed = seen(rms_norm(x, norm, 1e-5));
    y = apply(seen(silu_mul(apply(normed, first), apply(normed, second))), down);
  }
  for (const auto& input : inputs) EXPECT_TRUE(input.expired());
  y.backward(dy);

  Parameter* parameters[] = {&norm, &first, &second, &down};
  std::vector<at::Tensor> leaves;
  for (Parameter* parameter : parameters) leaves.push_back(copy_of(parameter->compute));
  const at::Tensor normed2 = x2 * (x2.square().mean(-1, true) + 1e-5).rsqrt() * leaves[0];
  const at::Tensor product2 = at::silu(at::linear(normed2, leaves[1])) * at::linear(normed2, leaves[2]);
  at::linear(product2, leaves[3]).backward(dy);
  expect_close(x.grad(), x2.grad());
  for (size_t i = 0; i < leaves.size(); ++i) expect_close(parameters[i]->grad, leaves[i].grad());
}

TEST(Functional, RecordsNothingWithoutNeed) {
  Parameter weight;
  weight.compute = at::ones({8});
  const at::Tensor x = at::randn({2, 8});
  EXPECT_FALSE(rms_norm(x, weight, 1e-6).requires_grad());
  EXPECT_FALSE(silu_mul(x, x).requires_grad());
  EXPECT_FALSE(linear(x, at::ones({4, 8}), {}, {}, {}).requires_grad());
  EXPECT_TRUE(linear(leaf({2, 8}), at::ones({4, 8}), {}, {}, {}).requires_grad());
}

}  // namespace
}  // namespace rqat::nn
