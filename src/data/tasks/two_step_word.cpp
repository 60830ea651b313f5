// Word problems of two operations, the second on the result of the first.
#include "task_text.h"

namespace rqat::data {
namespace {

enum Kind {
  kAddAdd,            // a + b + c
  kAddSubtract,       // a + b - c
  kSubtractAdd,       // a - b + c
  kSubtractSubtract,  // a - b - c
  kMultiplyAdd,       // a * b + c, a groups of b
  kMultiplySubtract,  // a * b - c
  kMoreTotal,         // one has a, the other b more: a + b, then both together
};

constexpr Wording kTrain[] = {
    {kAddSubtract,
     "{name} has {a} {items}, buys {b} more and gives {c} to {name2}. How many {items} does {name} have left?"},
    {kAddSubtract,
     "There are {a} {items} in a {box}. {name} adds {b} and takes out {c}. How many {items} are in the {box} now?"},
    {kAddSubtract,
     "A bus has {a} passengers. At a stop {b} get on and {c} get off. How many passengers are on the bus?",
     "passengers"},
    {kAddSubtract, "{name} earned {a} dollars on Monday and {b} on Tuesday, then spent {c}. How many dollars are left?",
     "dollars"},
    {kSubtractAdd, "{name} had {a} {items}, lost {b} and then found {c}. How many {items} does {he} have now?"},
    {kSubtractAdd,
     "A shop has {a} {items}. It sells {b} and then gets {c} new ones. How many {items} does it have now?"},
    {kSubtractAdd,
     "{name} has {a} dollars, pays {b} for lunch and gets {c} from {name2}. How many dollars does {he} have?",
     "dollars"},
    {kSubtractSubtract,
     "{name} had {a} {items}. {He} gave {b} to {name2} and {c} to {name3}. How many {items} remain?"},
    {kSubtractSubtract,
     "A book has {a} pages. {name} reads {b} pages on Monday and {c} on Tuesday. How many pages are left?", "pages"},
    {kSubtractSubtract,
     "A tank holds {a} liters. {name} uses {b} liters and then {c} liters. How many liters are left?", "liters"},
    {kAddAdd,
     "{name} picked {a} {items} on Monday, {b} on Tuesday and {c} on Wednesday. How many {items} is that in all?"},
    {kAddAdd, "A school has {a} red, {b} blue and {c} green chairs. How many chairs does it have?", "chairs"},
    {kAddAdd, "{name} has {a} {items}, {name2} has {b} and {name3} has {c}. How many {items} do they have together?"},
    {kMultiplyAdd,
     "{name} has {a} {boxes} with {b} {items} each and {c} loose {items}. How many {items} does {name} have?"},
    {kMultiplyAdd, "{name} buys {a} tickets for {b} dollars each and a bag for {c} dollars. How much does {he} pay?",
     "dollars"},
    {kMultiplyAdd, "There are {a} rows of {b} chairs and {c} extra chairs. How many chairs are there?", "chairs"},
    {kMultiplySubtract, "{name} buys {a} packs of {b} {items} and gives away {c}. How many {items} are left?"},
    {kMultiplySubtract,
     "{name} works {a} hours for {b} dollars an hour and spends {c} dollars. How many dollars are left?", "dollars"},
    {kMultiplySubtract,
     "There are {a} {boxes} with {b} {items} each. {name} takes {c} {items}. How many {items} stay in the {boxes}?"},
    {kMoreTotal, "{name} has {a} {items}. {name2} has {b} more than {name}. How many {items} do they have together?"},
    {kMoreTotal, "{name} read {a} pages on Monday and {b} more than that on Tuesday. How many pages is that in all?",
     "pages"},
};

constexpr Wording kTest[] = {
    {kAddSubtract, "{name} collects {a} {items} and then {b} others, but {c} get lost. How many {items} remain?"},
    {kAddSubtract, "A farm with {a} sheep buys {b} sheep and later sells {c}. How many sheep does it keep?", "sheep"},
    {kSubtractAdd,
     "From {a} {items} in a {box}, {name} removes {b}; later {name2} returns {c}. How many are inside at the end?"},
    {kSubtractSubtract,
     "Of {a} {items}, {b} are sold before lunch and {c} after it. What number of {items} is unsold?"},
    {kAddAdd, "Three {boxes} hold {a}, {b} and {c} {items}. Find the total number of {items}."},
    {kAddAdd, "A trip takes {a} minutes by bus, {b} by train and {c} on foot. How many minutes is the whole trip?",
     "minutes"},
    {kMultiplyAdd, "Each of {a} shelves carries {b} {items}, and {c} {items} lie on the floor. Count all the {items}."},
    {kMultiplySubtract,
     "{name} fills {a} {boxes} with {b} {items} each, then sells {c} of the {items}. What number is left?"},
    {kMoreTotal, "{name} owns {a} {items}; {name2} owns {b} more than {name} does. How many {items} do both own?"},
};

static_assert(std::size(kTrain) >= kMinTrainWordings && std::size(kTest) >= kMinTestWordings);

struct Numbers {
  int64_t a, b, c, middle, result;
};

Numbers draw(int kind, Split split, base::Rng& rng) {
  Numbers n{operand(rng, split), operand(rng, split), operand(rng, split), 0, 0};
  if (kind == kMultiplyAdd || kind == kMultiplySubtract) {
    n.a = factor(rng);
    n.b = group_size(rng, split);
  }
  switch (kind) {
    case kAddAdd:
      n.middle = n.a + n.b, n.result = n.middle + n.c;
      break;
    case kAddSubtract:
      n.middle = n.a + n.b, n.result = n.middle - n.c;
      break;
    case kSubtractAdd:
      n.middle = n.a - n.b, n.result = n.middle + n.c;
      break;
    case kSubtractSubtract:
      n.middle = n.a - n.b, n.result = n.middle - n.c;
      break;
    case kMultiplyAdd:
      n.middle = n.a * n.b, n.result = n.middle + n.c;
      break;
    case kMultiplySubtract:
      n.middle = n.a * n.b, n.result = n.middle - n.c;
      break;
    default:
      n.middle = n.a + n.b, n.result = n.a + n.middle;
      break;
  }
  return n;
}

std::string_view steps_of(int kind) {
  switch (kind) {
    case kAddAdd:
      return "{a} + {b} = {m}.\n{m} + {c} = {r}";
    case kAddSubtract:
      return "{a} + {b} = {m}.\n{m} - {c} = {r}";
    case kSubtractAdd:
      return "{a} - {b} = {m}.\n{m} + {c} = {r}";
    case kSubtractSubtract:
      return "{a} - {b} = {m}.\n{m} - {c} = {r}";
    case kMultiplyAdd:
      return "{a} * {b} = {m}.\n{m} + {c} = {r}";
    case kMultiplySubtract:
      return "{a} * {b} = {m}.\n{m} - {c} = {r}";
    default:
      return "{a} + {b} = {m}.\n{a} + {m} = {r}";
  }
}

class TwoStepWord : public WordingTask {
 public:
  TwoStepWord() : WordingTask("two_step_word", kTrain, kTest) {}

 protected:
  Work fill(const Wording& wording, Split split, base::Rng& rng, Slots& slots) const override {
    Numbers n = draw(wording.kind, split, rng);
    while (n.middle < 2 || n.result < 2) n = draw(wording.kind, split, rng);
    slots.set("a", n.a);
    slots.set("b", n.b);
    slots.set("c", n.c);
    slots.set("m", n.middle);
    slots.set("r", n.result);
    return {base::cat(steps_of(wording.kind), " ", wording.unit, "."), "{r}"};
  }
};

}  // namespace

base::Entry<TaskFamily> two_step_word_entry() {
  return make_task_entry<TwoStepWord>("two_step_word", "word problems of two operations");
}

}  // namespace rqat::data
