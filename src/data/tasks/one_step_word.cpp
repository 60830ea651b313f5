// Word problems of one operation: sum, difference, product, or equal shares.
#include "task_text.h"

namespace rqat::data {
namespace {

enum Kind { kAdd, kSubtract, kMultiply, kDivide };

// Products are {a} groups of {b}; shares split {a} into {b} parts.
constexpr Wording kTrain[] = {
    {kAdd, "{name} has {a} {items} and gets {b} more. How many {items} does {name} have now?"},
    {kAdd, "There are {a} {items} in a {box}. {name} puts in {b} more. How many {items} are in the {box} now?"},
    {kAdd, "{name} found {a} {items} on Monday and {b} on Tuesday. How many {items} did {he} find in all?"},
    {kAdd, "{name} has {a} {items} and {name2} has {b}. How many {items} do they have together?"},
    {kAdd, "A bus carries {a} people. At the next stop {b} more get on. How many people are on the bus now?", "people"},
    {kAdd, "{name} read {a} pages yesterday and {b} pages today. How many pages is that in total?", "pages"},
    {kAdd, "A shirt costs {a} dollars and a hat costs {b} dollars. How much do they cost together?", "dollars"},
    {kSubtract, "{name} has {a} {items} and gives {b} of them to {name2}. How many {items} are left?"},
    {kSubtract, "A {box} holds {a} {items}. {name} takes out {b}. How many {items} remain in the {box}?"},
    {kSubtract, "{name} had {a} {items} but lost {b}. How many {items} does {he} still have?"},
    {kSubtract, "A book has {a} pages. {name} has read {b} of them. How many pages are left to read?", "pages"},
    {kSubtract, "{name} saved {a} dollars and spent {b}. How many dollars does {he} have left?", "dollars"},
    {kSubtract, "A train has {a} seats and {b} of them are taken. How many seats are free?", "seats"},
    {kSubtract, "{name} needs {a} {items} and already has {b}. How many more {items} does {he} need?"},
    {kMultiply, "There are {a} {boxes} with {b} {items} each. How many {items} are there in all?"},
    {kMultiply, "{name} buys {a} packs of {items}. Each pack has {b} in it. How many {items} does {name} buy?"},
    {kMultiply, "A ticket costs {b} dollars. How much do {a} tickets cost?", "dollars"},
    {kMultiply, "{name} runs {b} minutes a day. How many minutes does {he} run in {a} days?", "minutes"},
    {kDivide, "{name} shares {a} {items} equally among {b} friends. How many {items} does each friend get?"},
    {kDivide, "{name} packs {a} {items} into {b} {boxes}, the same number in each. How many {items} are in one {box}?"},
    {kDivide, "A rope of {a} meters is cut into {b} equal pieces. How many meters long is each piece?", "meters"},
};

constexpr Wording kTest[] = {
    {kAdd,
     "After buying {a} {items} in the morning, {name} buys {b} in the evening. What is the number of {items} in all?"},
    {kAdd, "One shelf holds {a} {items} and another shelf holds {b}. Count the {items} on both shelves."},
    {kAdd, "A farm keeps {a} sheep and {b} goats. How many animals live there?", "animals"},
    {kSubtract, "Out of {a} {items}, {name} sells {b}. What number of {items} is left over?"},
    {kSubtract, "{name} must drive {a} miles and has driven {b}. How many miles are still ahead?", "miles"},
    {kSubtract, "Of the {a} {items} in the {box}, {b} belong to {name}. How many belong to others?"},
    {kMultiply, "Each of {a} friends brings {b} {items}. Find the total number of {items}."},
    {kMultiply, "A row has {b} chairs. How many chairs stand in {a} rows?", "chairs"},
    {kDivide, "A teacher splits {a} {items} evenly between {b} tables. How many {items} does each table receive?"},
};

static_assert(std::size(kTrain) >= kMinTrainWordings && std::size(kTest) >= kMinTestWordings);

class OneStepWord : public WordingTask {
 public:
  OneStepWord() : WordingTask("one_step_word", kTrain, kTest) {}

 protected:
  Work fill(const Wording& wording, Split split, base::Rng& rng, Slots& slots) const override {
    const char* sign = "+";
    int64_t a = 0, b = 0, result = 0;
    const auto draw = [&] {
      a = operand(rng, split);
      b = operand(rng, split);
      result = a + b;
      if (wording.kind == kSubtract) {
        sign = "-";
        result = a - b;
      } else if (wording.kind == kMultiply) {
        sign = "*";
        a = factor(rng);
        b = group_size(rng, split);
        result = a * b;
      } else if (wording.kind == kDivide) {
        sign = "/";
        b = factor(rng);
        result = group_size(rng, split);
        a = b * result;
      }
    };
    // The total to be shared is shown, so it must lie in the split's numbers like any other.
    const auto fits = [&] {
      return result >= 2 && (wording.kind != kDivide || is_training_number(a) == (split != Split::kTest));
    };
    do draw();
    while (!fits());
    slots.set("a", a);
    slots.set("b", b);
    slots.set("r", result);
    return {base::cat("{a} ", sign, " {b} = {r} ", wording.unit, "."), "{r}"};
  }
};

}  // namespace

base::Entry<TaskFamily> one_step_word_entry() {
  return make_task_entry<OneStepWord>("one_step_word", "word problems of one operation");
}

}  // namespace rqat::data
