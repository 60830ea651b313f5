#include "cli/tiny_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "program.h"
#include "rqat/io/safetensors.h"
#include "rqat/model/forward.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::cli {
namespace {

class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  TinyModelConfig config(const std::string& folder) const {
    TinyModelConfig config;
    config.out = (work_ / folder).string();
    config.family = GetParam();
    return config;
  }
  Workplace work_;
};

TEST_P(TinyModel, LoadsAndComputes) {
  write_tiny_model(config("m"));
  const pipeline::LoadedModel loaded = pipeline::load_model_folder(work_ / "m", {});
  EXPECT_EQ(loaded.model->config().model_type, GetParam());
  const std::string text = "12 + 30 = 42 caf\xc3\xa9<|im_end|>\n";
  const std::vector<int64_t> ids = loaded.tokenizer->encode(text);
  EXPECT_EQ(ids.size(), text.size() - std::string("<|im_end|>").size() + 1);
  EXPECT_EQ(loaded.tokenizer->decode(ids), text);
  EXPECT_EQ(loaded.chat->render({{"user", "hi"}}, true), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(loaded.stop_ids, (std::vector<int64_t>{258, 256}));
  EXPECT_TRUE(at::isfinite(model::forward_logits(*loaded.model, {ids})).all().item<bool>());
}

TEST_P(TinyModel, SeedDecidesTheWeights) {
  TinyModelConfig second = config("b"), third = config("c");
  third.seed = 2;
  write_tiny_model(config("a"));
  write_tiny_model(second);
  write_tiny_model(third);
  const auto weight = [&](const char* folder) {
    return io::TensorSource(work_ / folder).read("model.layers.1.self_attn.o_proj.weight");
  };
  EXPECT_TRUE(at::equal(weight("a"), weight("b")));
  EXPECT_FALSE(at::equal(weight("a"), weight("c")));
  EXPECT_NEAR(weight("a").to(at::kFloat).std().item<double>(), 0.02, 0.002);
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const auto& entry : model::families().entries()) names.push_back(entry.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Families, TinyModel, ::testing::ValuesIn(family_names()),
                         [](const auto& info) { return info.param; });

TEST(TinyModelConfig, SizesMustFit) {
  TinyModelConfig config;
  EXPECT_TRUE(config.check().empty());
  config.num_heads = 5;
  config.num_key_value_heads = 2;
  EXPECT_EQ(config.check().size(), 2u);
}

}  // namespace
}  // namespace rqat::cli
