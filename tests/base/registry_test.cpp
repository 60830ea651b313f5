#include "rqat/base/registry.h"

#include <gtest/gtest.h>

#include "support.h"

namespace rqat::base {
namespace {

struct Shape {
  virtual ~Shape() = default;
  virtual double area(double unit) const = 0;
};

struct SquareConfig : Config {
  double side = 2;
  void fields(FieldVisitor& v) override { v.field("side", side, "length of a side", positive()); }
};

struct Square : Shape {
  Square(const SquareConfig& config, int count) : side(config.side), count(count) {}
  double area(double unit) const override { return side * side * unit * count; }
  double side;
  int count;
};

struct Nothing : Shape {
  double area(double) const override { return 0; }
};

using Shapes = Registry<Shape, int>;

const Shapes& shapes() {
  static const Shapes registry(
      "shapes", {
                    make_entry<Shapes::EntryType, SquareConfig>(
                        "square", "a square", "1234.56789",
                        [](const SquareConfig& config, int count) { return std::make_unique<Square>(config, count); }),
                    make_entry<Shapes::EntryType, NoConfig>(
                        "nothing", "no area", "", [](const NoConfig&, int) { return std::make_unique<Nothing>(); }),
                });
  return registry;
}

TEST(Registry, ListsItsEntries) {
  EXPECT_EQ(shapes().kind(), "shapes");
  EXPECT_EQ(shapes().names(), (std::vector<std::string>{"square", "nothing"}));
  ASSERT_NE(shapes().find_info("square"), nullptr);
  EXPECT_EQ(shapes().find_info("square")->paper, "1234.56789");
  EXPECT_EQ(shapes().find_info("circle"), nullptr);
}

TEST(Registry, MakesWithDefaultsAndWithSettings) {
  EXPECT_EQ(shapes().make("square", 3)->area(1), 12);
  Component component("square");
  auto config = std::make_shared<SquareConfig>();
  config->side = 5;
  component.config = config;
  EXPECT_EQ(shapes().make(component, 1)->area(2), 50);
  EXPECT_EQ(shapes().make("nothing", 1)->area(2), 0);
}

TEST(Registry, SettingsOfAnotherEntryAreABug) {
  Component component("square");
  component.config = std::make_shared<NoConfig>();
  EXPECT_THROW(shapes().make(component, 1), std::bad_cast);
}

TEST(Registry, UnknownNameThrowsWithPlaceSuggestionAndNames) {
  Component component("squre");
  component.where = {"recipe.yaml", 7, 1};
  EXPECT_EQ(message_of<ConfigError>([&] { shapes().make(component, 1); }),
            "recipe.yaml:7: unknown shape 'squre'; did you mean 'square'? (one of square, nothing)");
  EXPECT_EQ(shapes().unknown_text("hyperboloid"), "unknown shape 'hyperboloid' (one of square, nothing)");
}

TEST(Registry, KindIsNamedInTheSingular) {
  const Registry<Shape> families("families", {});
  expect_contains(families.unknown_text("x"), "unknown family 'x'");
}

}  // namespace
}  // namespace rqat::base
