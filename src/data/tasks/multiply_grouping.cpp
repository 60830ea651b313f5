// A number of two digits times one digit, worked by splitting it into tens and units.
#include "task_text.h"

namespace rqat::data {
namespace {

constexpr Wording kTrain[] = {
    {0, "What is {a} * {b}?"},
    {0, "Compute {a} * {b}."},
    {0, "Multiply {a} by {b}."},
    {0, "What is {a} times {b}?"},
    {0, "Work out {a} times {b}."},
    {0, "Find the product of {a} and {b}."},
    {0, "Calculate {a} * {b} by splitting {a} into tens and units."},
    {0, "Split {a} into tens and units and multiply by {b}."},
    {0, "Use tens and units to find {a} * {b}."},
    {0, "How much are {b} groups of {a}?"},
    {0, "What is {b} times {a}?"},
    {0, "A {box} holds {a} {items}. How many {items} do {b} {boxes} hold?"},
    {0, "{name} buys {b} {boxes} with {a} {items} each. How many {items} is that?"},
    {0, "There are {b} rows of {a} seats. How many seats are there?"},
    {0, "A pack has {a} sheets of paper. How many sheets are in {b} packs?"},
    {0, "A machine makes {a} {items} an hour. How many does it make in {b} hours?"},
    {0, "Tickets cost {a} dollars each. What do {b} tickets cost?"},
    {0, "A truck drives {a} miles a day. How far does it go in {b} days?"},
    {0, "{name} saves {a} dollars a month. How much does {he} save in {b} months?"},
    {0, "Each of {b} classes has {a} students. How many students are there?"},
    {0, "A page has {a} words. How many words are on {b} such pages?"},
};

constexpr Wording kTest[] = {
    {0, "Give the value of {a} * {b}."},
    {0, "Find {b} lots of {a}."},
    {0, "Break {a} into tens and ones, then multiply by {b}."},
    {0, "The product {a} * {b} equals what?"},
    {0, "A crew lays {a} bricks an hour. How many bricks does it lay in {b} hours?"},
    {0, "If one {box} has {a} {items}, how many {items} are there in {b} {boxes}?"},
    {0, "{name} walks {a} steps a minute. How many steps are that in {b} minutes?"},
    {0, "A library gets {a} books each week. How many books arrive in {b} weeks?"},
};

static_assert(std::size(kTrain) >= kMinTrainWordings && std::size(kTest) >= kMinTestWordings);

class MultiplyGrouping : public WordingTask {
 public:
  MultiplyGrouping() : WordingTask("multiply_grouping", kTrain, kTest) {}

 protected:
  Work fill(const Wording&, Split split, base::Rng& rng, Slots& slots) const override {
    int64_t a = operand(rng, split);
    while (a <= 10 || a % 10 == 0) a = operand(rng, split);
    const int64_t b = factor(rng), units = a % 10, tens = a - units;
    slots.set("a", a);
    slots.set("b", b);
    return {base::cat(tens, " * ", b, " = ", tens * b, ".\n", units, " * ", b, " = ", units * b, ".\n", tens * b, " + ",
                      units * b, " = ", a * b, "."),
            std::to_string(a * b)};
  }
};

}  // namespace

base::Entry<TaskFamily> multiply_grouping_entry() {
  return make_task_entry<MultiplyGrouping>("multiply_grouping", "two digits times one digit by tens and units");
}

}  // namespace rqat::data
