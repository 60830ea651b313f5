#include "rqat/ops/transformer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "composed.h"
#include "ops/close.h"

namespace rqat::ops {
namespace {

at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble).detach(); }
at::Tensor variable(const at::Tensor& x) { return wide(x).set_requires_grad(true); }

class Blocks : public testing::TestWithParam<at::ScalarType> {
 protected:
  Blocks() { at::manual_seed(1); }
  at::Tensor random(at::IntArrayRef shape) const { return at::randn(shape).to(GetParam()); }
  bool half() const { return GetParam() == at::kBFloat16; }
  // One rounding to bf16 is 2^-9 of the value; sums of a few roundings stay within four of them.
  double tolerance() const { return half() ? 0.008 : 2e-6; }
};
INSTANTIATE_TEST_SUITE_P(Types, Blocks, testing::Values(at::kBFloat16, at::kFloat));

TEST_P(Blocks, RmsNormEqualsItsFormulaAndItsDerivative) {
  for (const int64_t size : {1, 7, 16, 576}) {
    const at::Tensor x = random({2, 150, size}), weight = random({size}), dy = random({2, 150, size});
    const auto [y, rstd] = rms_norm(x, weight, 1e-5);
    at::Tensor vx = variable(x), vw = variable(weight);
    const at::Tensor scale = (vx.square().mean({-1}, true) + 1e-5).rsqrt();
    const at::Tensor expected = vx * scale * vw;
    EXPECT_TRUE(test::close(y, expected.detach(), tolerance())) << size;
    EXPECT_TRUE(test::close(rstd, scale.detach().flatten(), 2e-6)) << size;
    expected.backward(wide(dy));
    at::Tensor weight_grad = at::ones({size});
    const at::Tensor dx = rms_norm_backward(dy, x, weight, rstd, weight_grad);
    EXPECT_TRUE(test::close(dx, vx.grad(), tolerance())) << size;
    EXPECT_TRUE(test::close(weight_grad, vw.grad() + 1, half() ? 0.004 : 5e-6)) << size;
    at::Tensor none;
    EXPECT_TRUE(at::equal(rms_norm_backward(dy, x, weight, rstd, none), dx));
    at::Tensor composed_grad = at::ones({size});
    EXPECT_TRUE(test::close(composed::rms_norm_backward(dy, x, weight, rstd, composed_grad), dx, tolerance()));
    EXPECT_TRUE(test::close(composed_grad, weight_grad, 5e-6));
    EXPECT_TRUE(test::close(composed::rms_norm(x, weight, 1e-5).first, y, tolerance()));
  }
}

TEST_P(Blocks, RmsNormStyles) {
  const at::Tensor x = random({70, 576}), weight = random({576}), dy = random({70, 576});
  const NormStyle style{.weight_offset = 1, .round_last = true};
  const auto [y, rstd] = rms_norm(x, weight, 1e-5, style);
  const at::Tensor plain = x.to(at::kFloat) * rstd.unsqueeze(1) * (weight.to(at::kFloat) + 1);
  EXPECT_TRUE(at::equal(y, plain.to(GetParam())));
  at::Tensor vx = variable(x), vw = variable(weight);
  (vx * (vx.square().mean({-1}, true) + 1e-5).rsqrt() * (vw + 1)).backward(wide(dy));
  at::Tensor grad = at::zeros({576}), composed_grad = at::zeros({576});
  EXPECT_TRUE(test::close(rms_norm_backward(dy, x, weight, rstd, grad, style), vx.grad(), tolerance()));
  EXPECT_TRUE(test::close(grad, vw.grad(), 5e-6));  // nothing on its way there is rounded
  EXPECT_TRUE(test::close(composed::rms_norm(x, weight, 1e-5, style).first, y, tolerance()));
  const at::Tensor composed_dx = composed::rms_norm_backward(dy, x, weight, rstd, composed_grad, style);
  EXPECT_TRUE(test::close(composed_dx, vx.grad(), tolerance()));
  EXPECT_TRUE(test::close(composed_grad, vw.grad(), 5e-6));
}

TEST_P(Blocks, RmsNormRoundsBeforeTheWeight) {
  const at::Tensor x = random({64, 576}), weight = random({576});
  const auto [y, rstd] = rms_norm(x, weight, 1e-5);
  const at::Tensor expected = (x.to(at::kFloat) * rstd.unsqueeze(1)).to(GetParam()) * weight;
  EXPECT_TRUE(at::equal(y, expected));
}

TEST_P(Blocks, RopeRotatesHalvesAndInverts) {
  for (const int64_t size : {2, 64, 80}) {
    const at::Tensor x = random({50, 3, size}), angle = at::randn({50, size / 2});
    const at::Tensor y = rope(x, angle.cos(), angle.sin());
    const at::Tensor c = wide(angle).cos().unsqueeze(1), s = wide(angle).sin().unsqueeze(1), w = wide(x);
    const at::Tensor a = w.slice(-1, 0, size / 2), b = w.slice(-1, size / 2);
    EXPECT_TRUE(test::close(y, at::cat({a * c - b * s, b * c + a * s}, -1), half() ? 0.004 : 1e-6)) << size;
    EXPECT_TRUE(test::close(rope(y, angle.cos(), angle.sin(), true), x, tolerance())) << size;
    EXPECT_TRUE(test::close(composed::rope(x, angle.cos(), angle.sin(), true), rope(x, angle.cos(), angle.sin(), true),
                            tolerance()));
  }
}

TEST_P(Blocks, SiluMulEqualsItsFormulaAndItsDerivative) {
  for (const int64_t size : {1, 37, 1536}) {
    const at::Tensor gate = random({20, size}) * 3, up = random({20, size}), dy = random({20, size});
    at::Tensor vg = variable(gate), vu = variable(up);
    const at::Tensor expected = vg / (1 + (-vg).exp()) * vu;
    EXPECT_TRUE(test::close(silu_mul(gate, up), expected.detach(), half() ? 0.004 : 1e-6));
    EXPECT_TRUE(test::close(composed::silu_mul(gate, up), expected.detach(), half() ? 0.004 : 1e-6));
    expected.backward(wide(dy));
    const auto [dgate, dup] = silu_mul_backward(dy, gate, up);
    EXPECT_TRUE(test::close(dgate, vg.grad(), half() ? 0.004 : 1e-6));
    EXPECT_TRUE(test::close(dup, vu.grad(), half() ? 0.004 : 1e-6));
    const auto [composed_gate, composed_up] = composed::silu_mul_backward(dy, gate, up);
    EXPECT_TRUE(test::close(composed_gate, vg.grad(), half() ? 0.004 : 1e-6));
    EXPECT_TRUE(test::close(composed_up, vu.grad(), half() ? 0.004 : 1e-6));
  }
}

TEST_P(Blocks, SiluMulOfExtremeGates) {
  const at::Tensor gate = at::tensor({-1e4f, -90.0f, 0.0f, 90.0f, 1e4f}).to(GetParam());
  const at::Tensor up = at::ones_like(gate);
  EXPECT_TRUE(test::close(silu_mul(gate, up), gate.clamp_min(0), 1e-6));
  const auto [dgate, dup] = silu_mul_backward(up, gate, up);
  EXPECT_TRUE(test::close(dgate, at::tensor({0.0f, 0.0f, 0.5f, 1.0f, 1.0f}), 1e-6));
}

// Attention of one query at a time in fp64, from the definition: every query lists the keys it sees.
struct AttentionOracle {
  at::Tensor q, k, v, out, logsumexp;

  AttentionOracle(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                  const std::vector<Segment>& segments, const AttentionOptions& options)
      : q(variable(q_in)), k(variable(k_in)), v(variable(v_in)) {
    const int64_t heads = q.size(1), group = heads / k.size(1);
    std::vector<at::Tensor> rows(q.size(0), at::zeros({heads, q.size(2)}, at::kDouble));
    logsumexp = at::zeros({q.size(0), heads}, at::kDouble);
    for (const Segment& segment : segments) {
      for (int64_t t = segment.begin; t < segment.end; ++t) {
        std::vector<int64_t> seen;
        std::vector<int64_t> path;
        for (int64_t i = segment.parent; i >= 0; i = segments[i].parent) path.insert(path.begin(), i);
        for (const int64_t above : path)
          for (int64_t i = segments[above].begin; i < segments[above].end; ++i) seen.push_back(i);
        for (int64_t i = segment.begin; i <= t; ++i) seen.push_back(i);
        const auto window = static_cast<size_t>(options.window);
        if (window > 0 && seen.size() > window) seen.erase(seen.begin(), seen.end() - options.window);
        const at::Tensor index = at::tensor(seen);
        const at::Tensor keys = k.index_select(0, index).repeat_interleave(group, 1);
        const at::Tensor values = v.index_select(0, index).repeat_interleave(group, 1);
        at::Tensor scores = (keys * q[t]).sum(-1) * options.scale;  // [seen, H]
        if (options.softcap > 0) scores = options.softcap * at::tanh(scores / options.softcap);
        logsumexp[t].copy_(scores.detach().logsumexp(0));
        rows[t] = (scores.softmax(0).unsqueeze(-1) * values).sum(0);
      }
    }
    out = at::stack(rows);
  }
};

struct AttentionCase {
  const char* name;
  int64_t heads, kv_heads, size, tokens;
  std::vector<Segment> segments;
  AttentionOptions options{.scale = 0.2};
};
void PrintTo(const AttentionCase& c, std::ostream* out) { *out << c.name; }

class Attention : public testing::TestWithParam<std::tuple<at::ScalarType, AttentionCase>> {};
INSTANTIATE_TEST_SUITE_P(
    Cases, Attention,
    testing::Combine(
        testing::Values(at::kBFloat16, at::kFloat),
        testing::Values(
            AttentionCase{"one token", 9, 3, 64, 1, {{0, 1, -1}}},
            AttentionCase{"two segments", 9, 3, 64, 150, {{0, 63, -1}, {63, 150, -1}}},
            AttentionCase{"whole blocks", 4, 4, 32, 192, {{0, 64, -1}, {64, 192, -1}}},
            AttentionCase{"long", 2, 1, 128, 270, {{0, 270, -1}}},
            AttentionCase{"prompt with responses",
                          6,
                          2,
                          64,
                          160,
                          {{0, 70, -1}, {70, 90, 0}, {90, 91, 0}, {91, 120, -1}, {120, 155, 3}}},
            AttentionCase{"system prompt, prompts, responses",
                          6,
                          2,
                          64,
                          160,
                          {{0, 40, -1}, {40, 75, 0}, {75, 90, 1}, {90, 95, 1}, {95, 125, 0}, {125, 160, 4}}},
            AttentionCase{"gaps and an empty segment", 2, 2, 64, 60, {{5, 20, -1}, {20, 20, 0}, {25, 50, 0}}},
            AttentionCase{"odd head", 2, 1, 24, 40, {{0, 40, -1}}},
            AttentionCase{"capped", 4, 2, 64, 150, {{0, 63, -1}, {63, 150, 0}}, {.scale = 0.2, .softcap = 1.5}},
            AttentionCase{"window of one", 2, 1, 32, 70, {{0, 70, -1}}, {.scale = 0.2, .window = 1}},
            AttentionCase{"window within a block", 2, 1, 32, 140, {{0, 140, -1}}, {.scale = 0.2, .window = 5}},
            AttentionCase{"window over blocks", 4, 2, 64, 330, {{0, 330, -1}}, {.scale = 0.2, .window = 100}},
            AttentionCase{"window of whole blocks", 2, 2, 32, 256, {{0, 256, -1}}, {.scale = 0.2, .window = 64}},
            AttentionCase{"window longer than all", 2, 1, 32, 90, {{0, 90, -1}}, {.scale = 0.2, .window = 500}},
            AttentionCase{"window into parents, capped",
                          6,
                          2,
                          64,
                          240,
                          {{0, 70, -1}, {70, 150, 0}, {150, 155, 1}, {155, 200, 0}, {200, 240, -1}},
                          {.scale = 0.2, .softcap = 2, .window = 90}})));

TEST_P(Attention, EqualsTheDefinitionAndItsDerivative) {
  at::manual_seed(2);
  const auto [dtype, c] = GetParam();
  const bool half = dtype == at::kBFloat16;
  const at::Tensor q = at::randn({c.tokens, c.heads, c.size}).to(dtype);
  const at::Tensor k = at::randn({c.tokens, c.kv_heads, c.size}).to(dtype);
  const at::Tensor v = at::randn({c.tokens, c.kv_heads, c.size}).to(dtype), dout = at::randn_like(q);
  const AttentionOracle oracle(q, k, v, c.segments, c.options);
  oracle.out.backward(wide(dout));
  // Probabilities and score gradients pass through bf16 on their way into the products.
  const double tolerance = half ? 0.01 : 3e-6;
  const auto [out, logsumexp] = segment_attention(q, k, v, c.segments, c.options);
  EXPECT_EQ(out.scalar_type(), dtype);
  EXPECT_TRUE(test::close(out, oracle.out.detach(), tolerance));
  EXPECT_TRUE(test::close(logsumexp, oracle.logsumexp, 1e-5));
  const AttentionGradients gradients = segment_attention_backward(dout, q, k, v, out, logsumexp, c.segments, c.options);
  EXPECT_TRUE(test::close(gradients.q, oracle.q.grad(), tolerance));
  EXPECT_TRUE(test::close(gradients.k, oracle.k.grad(), tolerance));
  EXPECT_TRUE(test::close(gradients.v, oracle.v.grad(), tolerance));

  const auto composed_out = composed::segment_attention(q, k, v, c.segments, c.options);
  EXPECT_TRUE(test::close(composed_out.first, oracle.out.detach(), tolerance));
  const AttentionGradients composed_gradients = composed::segment_attention_backward(
      dout, q, k, v, composed_out.first, composed_out.second, c.segments, c.options);
  EXPECT_TRUE(test::close(composed_gradients.q, oracle.q.grad(), tolerance));
  EXPECT_TRUE(test::close(composed_gradients.k, oracle.k.grad(), tolerance));
  EXPECT_TRUE(test::close(composed_gradients.v, oracle.v.grad(), tolerance));
}

TEST_P(Attention, ThreadsDoNotMatter) {
  const auto [dtype, c] = GetParam();
  const at::Tensor q = at::randn({c.tokens, c.heads, c.size}).to(dtype);
  const at::Tensor k = at::randn({c.tokens, c.kv_heads, c.size}).to(dtype);
  const auto& segments = c.segments;
  EXPECT_TRUE(test::same_for_any_threads([&] {
    const auto [out, logsumexp] = segment_attention(q, k, k, segments);
    const AttentionGradients g = segment_attention_backward(q, q, k, k, out, logsumexp, segments);
    return at::cat({out.flatten(), g.q.flatten(), g.k.flatten(), g.v.flatten()});
  }));
}

TEST_P(Blocks, DecodeAttentionEqualsTheDefinition) {
  for (const int64_t size : {16, 64, 80, 24}) {
    const int64_t heads = 6, kv_heads = 2, capacity = 150;
    const at::Tensor k = random({5, kv_heads, capacity, size}), v = random({5, kv_heads, capacity, size});
    const at::Tensor q = random({3, heads, size});
    const std::vector<int64_t> slots = {4, 0, 2}, lengths = {1, 150, 67};
    v[2].slice(1, 67).fill_(NAN);  // behind a row's length anything may lie
    const at::Tensor out = decode_attention(q, k, v, slots, lengths),
                     again = composed::decode_attention(q, k, v, slots, lengths, {1 / std::sqrt(double(size))});
    for (size_t i = 0; i < slots.size(); ++i) {
      const at::Tensor keys = wide(k[slots[i]].slice(1, 0, lengths[i])).repeat_interleave(3, 0);
      const at::Tensor values = wide(v[slots[i]].slice(1, 0, lengths[i])).repeat_interleave(3, 0);
      const at::Tensor scores = (keys * wide(q[i]).unsqueeze(1)).sum(-1) / std::sqrt(double(size));
      const at::Tensor expected = (scores.softmax(-1).unsqueeze(-1) * values).sum(1);
      EXPECT_TRUE(test::close(out[i], expected, half() ? 0.004 : 2e-6)) << size << " row " << i;
      EXPECT_TRUE(test::close(again[i], expected, half() ? 0.004 : 2e-6)) << size << " row " << i;
    }
  }
}

TEST_P(Blocks, DecodeAttentionWithWindowAndCap) {
  const at::Tensor k = random({2, 2, 90, 64}), v = random({2, 2, 90, 64}), q = random({3, 10, 64});
  const std::vector<int64_t> slots = {0, 1, 1}, lengths = {3, 20, 90};
  const AttentionOptions options{.scale = 0.2, .softcap = 1.5, .window = 20};
  const at::Tensor out = decode_attention(q, k, v, slots, lengths, options),
                   again = composed::decode_attention(q, k, v, slots, lengths, options);
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t first = std::max<int64_t>(0, lengths[i] - 20);
    const at::Tensor keys = wide(k[slots[i]].slice(1, first, lengths[i])).repeat_interleave(5, 0);
    const at::Tensor values = wide(v[slots[i]].slice(1, first, lengths[i])).repeat_interleave(5, 0);
    const at::Tensor scores = 1.5 * at::tanh((keys * wide(q[i]).unsqueeze(1)).sum(-1) * (0.2 / 1.5));
    const at::Tensor expected = (scores.softmax(-1).unsqueeze(-1) * values).sum(1);
    EXPECT_TRUE(test::close(out[i], expected, half() ? 0.004 : 2e-6)) << i;
    EXPECT_TRUE(test::close(again[i], expected, half() ? 0.004 : 2e-6)) << i;
  }
}

TEST_P(Blocks, ThreadsDoNotMatter) {
  const at::Tensor x = random({700, 96}), weight = random({96}), k = random({4, 2, 50, 32}), q = random({4, 4, 32});
  EXPECT_TRUE(test::same_for_any_threads([&] {
    const auto [y, rstd] = rms_norm(x, weight, 1e-5);
    at::Tensor weight_grad = at::zeros({96});
    const at::Tensor dx = rms_norm_backward(x, x, weight, rstd, weight_grad);
    const auto [dgate, dup] = silu_mul_backward(x, y, dx);
    return at::cat({y.flatten(), dx.flatten(), weight_grad, silu_mul(x, y).flatten(), dgate.flatten(), dup.flatten(),
                    decode_attention(q, k, k, {0, 1, 2, 3}, {50, 1, 20, 33}).flatten()});
  }));
}

TEST(Transformer, StridedTensorsTakeTheComposition) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({40, 30}).t(), weight = at::randn({40});
  EXPECT_TRUE(test::close(rms_norm(x, weight, 1e-5).first, rms_norm(x.contiguous(), weight, 1e-5).first, 1e-6));
  EXPECT_TRUE(test::close(silu_mul(x, x), silu_mul(x.contiguous(), x.contiguous()), 1e-6));
}

TEST(Transformer, EmptyInputsWork) {
  const at::Tensor none = at::empty({0, 8}), weight = at::ones({8});
  EXPECT_EQ(rms_norm(none, weight, 1e-5).first.sizes(), none.sizes());
  EXPECT_EQ(silu_mul(none, none).numel(), 0);
  const at::Tensor q = at::empty({0, 2, 64}, at::kBFloat16), cache = at::empty({1, 2, 4, 64}, at::kBFloat16);
  EXPECT_EQ(segment_attention(q, q, q, {}).first.sizes(), q.sizes());
  EXPECT_EQ(decode_attention(q, cache, cache, {}, {}).sizes(), q.sizes());
}

TEST(Transformer, WrongArgumentsAreNamed) {
  const at::Tensor x = at::zeros({4, 8}), weight = at::zeros({8}), rstd = at::zeros({4});
  at::Tensor none, wrong_grad = at::zeros({7});
  EXPECT_EQ(test::value_error([&] { rms_norm(x, at::zeros({7}), 1e-5); }),
            "[rms_norm] expected weight Float [8], got Float [7]");
  EXPECT_EQ(test::value_error([&] { rms_norm(x.to(at::kHalf), weight, 1e-5); }),
            "[rms_norm] expected x of bfloat16 or float32, got Half");
  EXPECT_EQ(test::value_error([&] {
              rms_norm_backward(at::zeros({4, 7}), x, weight, rstd, none);
            }),
            "[rms_norm_backward] expected dy like x (Float [4, 8] on cpu), got Float [4, 7] on cpu");
  EXPECT_EQ(test::value_error([&] { rms_norm_backward(x, x, weight, at::zeros({3}), none); }),
            "[rms_norm_backward] expected rstd float32 with one value per row of x [4, 8], got Float [3]");
  EXPECT_EQ(test::value_error([&] { rms_norm_backward(x, x, weight, rstd, wrong_grad); }),
            "[rms_norm_backward] expected weight_grad float32 [8], got Float [7]");
  EXPECT_EQ(test::value_error([&] {
              rope(at::zeros({2, 1, 3}), x, x);
            }),
            "[rope] expected x [T, heads, E] with even E, got [2, 1, 3]");
  EXPECT_EQ(test::value_error([&] {
              rope(at::zeros({2, 1, 4}), x, x);
            }),
            "[rope] expected cos and sin float32 [2, 2], got Float [4, 8]");
  EXPECT_EQ(test::value_error([&] {
              silu_mul(x, at::zeros({4, 7}));
            }),
            "[silu_mul] expected up like gate (Float [4, 8] on cpu), got Float [4, 7] on cpu");
}

TEST(Transformer, WrongSegmentsAreNamed) {
  const at::Tensor q = at::zeros({10, 4, 8}), k = at::zeros({10, 2, 8});
  const auto run = [&](const std::vector<Segment>& segments) {
    return test::value_error([&] { segment_attention(q, k, k, segments); });
  };
  EXPECT_EQ(run({{0, 11, -1}}), "[segment_attention] expected segment 0 within 0..10, got 0..11");
  EXPECT_EQ(run({{0, 5, -1}, {4, 6, -1}}),
            "[segment_attention] expected segment 1 to begin after segment 0 ends, got 4 before 5");
  EXPECT_EQ(run({{0, 3, -1}, {3, 5, 0}, {5, 6, 2}}),
            "[segment_attention] expected the parent of segment 2 to be an earlier segment, got 2");
  EXPECT_EQ(test::value_error([&] {
              segment_attention(q, at::zeros({10, 3, 8}), k, {});
            }),
            "[segment_attention] expected q [T, H, E] and k [T, J, E] of one dtype with H a multiple of J, got "
            "[10, 4, 8] and [10, 3, 8]");
  EXPECT_EQ(test::value_error([&] {
              segment_attention_backward(q, q, k, k, q, at::zeros({10, 3}), {});
            }),
            "[segment_attention_backward] expected logsumexp float32 [10, 4], got Float [10, 3]");
  EXPECT_EQ(test::value_error([&] { segment_attention(q, k, k, {}, {.window = -1}); }),
            "[segment_attention] expected softcap and window >= 0, got 0 and -1");
  const at::Tensor cache = at::zeros({2, 2, 6, 8});
  EXPECT_EQ(test::value_error([&] { decode_attention(q.slice(0, 0, 1), cache, cache, {0}, {7}); }),
            "[decode_attention] expected slot in 0..1 and length in 1..6 of row 0, got 0 and 7");
  EXPECT_EQ(test::value_error([&] {
              decode_attention(q.slice(0, 0, 1), cache, cache, {0, 1}, {1, 1});
            }),
            "[decode_attention] expected 1 slots and lengths, got 2 and 2");
  EXPECT_EQ(
      test::value_error([&] {
        decode_attention(q, at::zeros({2, 3, 6, 8}), cache, {}, {});
      }),
      "[decode_attention] expected q [S, H, E] and k_cache [slots, J, capacity, E] of one dtype with H a multiple "
      "of J, got [10, 4, 8] and [2, 3, 6, 8]");
}

}  // namespace
}  // namespace rqat::ops
