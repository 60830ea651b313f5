// Who has more or fewer and by how much, how large a difference is, and the order of three quantities.
#include <algorithm>

#include "task_text.h"

namespace rqat::data {
namespace {

enum Kind {
  kWhoMore,      // "Anna, 18"
  kWhoLess,      // "Anna, 18"
  kDifference,   // "18", in any order
  kHowManyMore,  // "18", {name} has more
  kAscending,    // "12, 45, 93"
  kDescending,   // "93, 45, 12"
  kMost,         // "Anna"
  kFewest,       // "Anna"
};

constexpr Wording kTrain[] = {
    {kWhoMore, "{name} has {a} {items} and {name2} has {b}. Who has more, and how many more?"},
    {kWhoMore, "{name} scored {a} points and {name2} scored {b}. Who won, and by how many points?"},
    {kWhoMore, "{name} read {a} pages and {name2} read {b}. Who read more, and by how many pages?"},
    {kWhoMore, "{name} is {a} years old and {name2} is {b}. Who is older, and by how many years?"},
    {kWhoMore, "{name} ran for {a} minutes and {name2} for {b}. Who ran longer, and by how many minutes?"},
    {kWhoMore, "{name} saved {a} dollars and {name2} saved {b}. Who saved more, and by how much?"},
    {kWhoLess, "{name} has {a} {items} and {name2} has {b}. Who has fewer, and how many fewer?"},
    {kWhoLess, "{name} paid {a} dollars and {name2} paid {b}. Who paid less, and how much less?"},
    {kWhoLess, "{name} needs {a} minutes for a task and {name2} needs {b}. Who is faster, and by how many minutes?"},
    {kHowManyMore, "{name} has {a} {items} and {name2} has {b}. How many more {items} does {name} have than {name2}?"},
    {kHowManyMore, "{name} has {a} {items} and {name2} has {b}. How many more does {name2} need to have as many?"},
    {kDifference, "A red {box} holds {a} {items} and a blue one holds {b}. What is the difference?"},
    {kDifference, "One rope is {a} meters long and another {b} meters. How many meters longer is the longer one?"},
    {kDifference, "What is the difference between {a} and {b}?"},
    {kAscending, "Order these numbers from smallest to largest: {a}, {b}, {c}."},
    {kAscending, "Write {a}, {b} and {c} in increasing order."},
    {kAscending, "Three {boxes} hold {a}, {b} and {c} {items}. List the counts from least to greatest."},
    {kDescending, "Order these numbers from largest to smallest: {a}, {b}, {c}."},
    {kDescending, "Write {a}, {b} and {c} in decreasing order."},
    {kMost, "{name} has {a} {items}, {name2} has {b} and {name3} has {c}. Who has the most?"},
    {kMost, "{name} jumped {a} inches, {name2} {b} inches and {name3} {c} inches. Who jumped farthest?"},
    {kFewest, "{name} has {a} {items}, {name2} has {b} and {name3} has {c}. Who has the fewest?"},
};

constexpr Wording kTest[] = {
    {kWhoMore, "Compare {name} with {a} {items} and {name2} with {b}. Whose number is greater, and by how many?"},
    {kWhoMore, "{name} sold {a} tickets while {name2} sold {b}. Who sold more, and what is the difference?"},
    {kWhoLess, "{name} walked {a} miles while {name2} walked {b}. Who walked less, and by how many miles?"},
    {kHowManyMore, "By how much does {a} exceed {b}?"},
    {kDifference, "A tree is {a} feet tall and a house {b} feet. Find the difference in height."},
    {kAscending, "Arrange {a}, {b} and {c} so that they go up."},
    {kDescending, "Sort {a}, {b} and {c} starting with the biggest."},
    {kMost, "The points are: {name} {a}, {name2} {b}, {name3} {c}. Who leads?"},
    {kFewest, "{name}, {name2} and {name3} picked {a}, {b} and {c} {items}. Who picked the smallest number?"},
};

static_assert(std::size(kTrain) >= kMinTrainWordings && std::size(kTest) >= kMinTestWordings);

class Comparison : public WordingTask {
 public:
  Comparison() : WordingTask("comparison", kTrain, kTest) {}

 protected:
  Work fill(const Wording& wording, Split split, base::Rng& rng, Slots& slots) const override {
    auto numbers = distinct_operands(rng, split, 3);
    if (wording.kind == kHowManyMore && numbers[0] < numbers[1]) std::swap(numbers[0], numbers[1]);
    const char* letters[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; ++i) slots.set(letters[i], numbers[i]);
    const bool pair = wording.kind <= kHowManyMore;
    const bool rising = wording.kind == kWhoLess || wording.kind == kAscending || wording.kind == kFewest;
    set_order(numbers, pair ? 2 : 3, rising, slots);
    slots.set("difference", std::abs(numbers[0] - numbers[1]));
    return work(wording.kind);
  }

 private:
  // {first}, {second}, {third}: the numbers in order; {winner}: the name that goes with the first; {larger}, {smaller}.
  static void set_order(const std::vector<int64_t>& numbers, size_t count, bool rising, Slots& slots) {
    std::vector<size_t> order = {0, 1, 2};
    order.resize(count);
    std::sort(order.begin(), order.end(),
              [&](size_t i, size_t j) { return rising ? numbers[i] < numbers[j] : numbers[i] > numbers[j]; });
    const char* names[] = {"name", "name2", "name3"};
    slots.set("winner", slots.at(names[order[0]]));
    slots.set("first", numbers[order[0]]);
    slots.set("second", numbers[order[1]]);
    if (count == 3) slots.set("third", numbers[order[2]]);
    slots.set("larger", std::max(numbers[0], numbers[1]));
    slots.set("smaller", std::min(numbers[0], numbers[1]));
  }

  static Work work(int kind) {
    const std::string difference = "{larger} - {smaller} = {difference}.";
    switch (kind) {
      case kWhoMore:
        return {"{first} > {second}, so it is {winner}.\n" + difference, "{winner}, {difference}"};
      case kWhoLess:
        return {"{first} < {second}, so it is {winner}.\n" + difference, "{winner}, {difference}"};
      case kDifference:
      case kHowManyMore:
        return {difference, "{difference}"};
      case kAscending:
        return {"{first} < {second} < {third}.", "{first}, {second}, {third}"};
      case kDescending:
        return {"{first} > {second} > {third}.", "{first}, {second}, {third}"};
      case kMost:
        return {"{first} > {second} > {third}, so it is {winner}.", "{winner}"};
      default:
        return {"{first} < {second} < {third}, so it is {winner}.", "{winner}"};
    }
  }
};

}  // namespace

base::Entry<TaskFamily> comparison_entry() {
  return make_task_entry<Comparison>("comparison", "who has more and by how much, and the order of quantities");
}

}  // namespace rqat::data
