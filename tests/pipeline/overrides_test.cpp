#include <gtest/gtest.h>

#include "pipeline/recipe_text.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {
namespace {

using base::ConfigError;
using base::Node;

std::string after(const std::string& yaml, const std::string& override_text) {
  Node root = Node::parse(yaml, "r.yaml");
  apply_override(root, override_text);
  return root.dump();
}

std::string fault(const std::string& yaml, const std::string& override_text) {
  return message_of<ConfigError>([&] { after(yaml, override_text); });
}

std::string same(const std::string& yaml) { return Node::parse(yaml, "r.yaml").dump(); }

TEST(Overrides, ReplaceAndAddKeys) {
  EXPECT_EQ(after("a: {b: 1, c: 2}", "a.b=3"), same("a: {b: 3, c: 2}"));
  EXPECT_EQ(after("a: 1", "b.c.d=x"), same("a: 1\nb: {c: {d: x}}"));
  EXPECT_EQ(after("a: {b: 1}", "a={c: [1, 2]}"), same("a: {c: [1, 2]}"));
  EXPECT_EQ(after("a: null", "a.b=1"), same("a: {b: 1}"));
}

TEST(Overrides, ValuesAreYaml) {
  EXPECT_EQ(after("a: 1", "a=x=y"), same("a: x=y"));
  EXPECT_EQ(after("a: 1", "a=\"3\""), same("a: \"3\""));
  EXPECT_EQ(after("a: 1", "a="), same("a: null"));
  expect_contains(fault("a: 1", "a=[1"), "override a=[1");
}

TEST(Overrides, ListItemsGoById) {
  const std::string list = "stages: [{id: kd, n: 1}, {id: rl, n: 2}]";
  EXPECT_EQ(after(list, "stages.rl.n=5"), same("stages: [{id: kd, n: 1}, {id: rl, n: 5}]"));
  EXPECT_EQ(after(list, "stages.kd={id: kd}"), same("stages: [{id: kd}, {id: rl, n: 2}]"));
  EXPECT_EQ(fault(list, "stages.kf.n=5"),
            "override stages.kf.n=5: no item with id 'kf'; did you mean 'kd'? (there: kd, rl)");
  EXPECT_EQ(fault("list: [1, 2]", "list.zebra=5"), "override list.zebra=5: no item with id 'zebra' (there: none)");
}

TEST(Overrides, NameOfAComponentGrowsSettings) {
  EXPECT_EQ(after("optimizer: adamw", "optimizer.adamw.learning_rate=1e-3"),
            same("optimizer: {adamw: {learning_rate: 1e-3}}"));
  EXPECT_EQ(after("optimizer: {adamw: {x: 1}}", "optimizer.adamw.y=2"), same("optimizer: {adamw: {x: 1, y: 2}}"));
  EXPECT_EQ(
      fault("optimizer: adamw", "optimizer.sgd.learning_rate=1"),
      "override optimizer.sgd.learning_rate=1: 'sgd' is not part of the text 'adamw' in optimizer.sgd.learning_rate=1");
}

TEST(Overrides, MalformedOnes) {
  EXPECT_EQ(fault("a: 1", "abc"),
            "override 'abc' must have the form key.sub_key=value (+key.sub_key=value adds, ~key.sub_key removes)");
  expect_contains(fault("a: 1", "=3"), "override '=3' must have the form key.sub_key=value");
  expect_contains(fault("a: 1", "+=3"), "override '+=3' must have the form key.sub_key=value");
  expect_contains(fault("a: 1", "~a=3"), "~ removes a key and takes no value");
  expect_contains(fault("a: 1", "~"), "override '~' has an empty key");
  EXPECT_EQ(fault("a: {b: 1}", "a..b=3"), "override 'a..b=3' has an empty key");
}

TEST(Overrides, PlusAddsWhatIsNotThere) {
  EXPECT_EQ(after("a: {b: 1}", "+a.c=2"), same("a: {b: 1, c: 2}"));
  EXPECT_EQ(after("a: 1", "+b.c={d: x}"), same("a: 1\nb: {c: {d: x}}"));
  EXPECT_EQ(fault("a: {b: 1}", "+a.b=2"), "override +a.b=2: it is set already, to 1; leave the + out to change it");
  expect_contains(fault("a: {b: 1}", "+a={c: 2}"), "it is set already, to a map");
}

TEST(Overrides, PlusAppendsToLists) {
  const std::string list = "stages: [{id: kd, n: 1}]";
  EXPECT_EQ(after(list, "+stages={id: rl, n: 2}"), same("stages: [{id: kd, n: 1}, {id: rl, n: 2}]"));
  EXPECT_EQ(after(list, "+stages=[{id: a}, {id: b}]"), same("stages: [{id: kd, n: 1}, {id: a}, {id: b}]"));
  EXPECT_EQ(after("models: [a]", "+models=b"), same("models: [a, b]"));
  EXPECT_EQ(fault(list, "+stages={id: kd}"),
            "override +stages={id: kd}: the list has an item 'kd' already; leave the + out to change it");
}

TEST(Overrides, TildeRemoves) {
  EXPECT_EQ(after("a: {b: 1, c: 2}", "~a.b"), same("a: {c: 2}"));
  const std::string list = "stages: [{id: kd, n: 1}, {id: rl, n: 2, models: [a, b]}]";
  EXPECT_EQ(after(list, "~stages.kd"), same("stages: [{id: rl, n: 2, models: [a, b]}]"));
  EXPECT_EQ(after(list, "~stages.rl.models.a"), same("stages: [{id: kd, n: 1}, {id: rl, n: 2, models: [b]}]"));
  EXPECT_EQ(fault("steps: 1", "~stepps"),
            "override ~stepps: there is no 'stepps' to remove; did you mean 'steps'? (there: steps)");
  expect_contains(fault(list, "~stages.kf.n"), "there is no 'kf' to remove; did you mean 'kd'? (there: kd, rl)");
  expect_contains(fault("a: 1", "~a.b"), "there is no 'b' to remove (there: nothing)");
}

TEST(Overrides, AllFaultsOfACommandLineAtOnceAndLaterOnesWin) {
  const RecipeFolder folder;
  const auto file = folder.write("r.yaml", R"(models: {base: {path: m}}
data: {train: {generators: [chain_sums]}}
stages: [{id: t, type: train, model: base, data: train}]
)");
  EXPECT_EQ(load_recipe(file, {"seed=1", "seed=2"}).seed, 2);
  const std::string text = message_of<ConfigError>([&] {
    load_recipe(file, {"stages.x.max_steps=1", "nonsense", "seed=3"});
  });
  expect_contains(text, "override stages.x.max_steps=1: no item with id 'x'");
  expect_contains(text, "override 'nonsense' must have the form");
  const std::string bad_values = message_of<ConfigError>([&] { load_recipe(file, {"stages.t.max_steps=0", "sed=3"}); });
  expect_contains(bad_values,
                  "override stages.t.max_steps=0: stages.t.max_steps: 0 is out of range; allowed: 1..1000000000");
  expect_contains(bad_values, "override sed=3: sed: unknown key; did you mean 'seed'?");
}

}  // namespace
}  // namespace rqat::pipeline
