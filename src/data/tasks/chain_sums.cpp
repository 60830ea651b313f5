// Sums and differences of three to five terms, worked from left to right; nothing on the way is negative.
#include "task_text.h"

namespace rqat::data {
namespace {

// Slots: {sum} "12 + 35 - 8"; {first} "12"; {orders} "add 35, subtract 8"; {deeds} "adds 35, subtracts 8";
// {moves} "up by 35, down by 8"; {changes} "+35, -8".
constexpr Wording kTrain[] = {
    {0, "What is {sum}?"},
    {0, "Compute {sum}."},
    {0, "Work out {sum}."},
    {0, "Find the value of {sum}."},
    {0, "Calculate {sum}."},
    {0, "{sum} = ?"},
    {0, "Evaluate {sum}."},
    {0, "How much is {sum}?"},
    {0, "Go from left to right: {sum}."},
    {0, "Solve {sum}."},
    {0, "Please work out the value of {sum}."},
    {0, "Give the result of {sum}."},
    {0, "What do you get for {sum}?"},
    {0, "Simplify {sum} to one number."},
    {0, "Which number is {sum}?"},
    {0, "{name} wants to know {sum}. What is it?"},
    {0, "Start with {first}, then {orders}. What is the result?"},
    {0, "Write down {first}. Now {orders}. Which number do you have?"},
    {0, "{name} starts at {first} and {deeds}. Where does {he} end?"},
    {0, "{name} thinks of {first}, then {deeds}. What number does {he} get?"},
    {0, "A counter shows {first}. It goes {moves}. What does it show now?"},
    {0, "A lift is at height {first}. It moves {moves}. At what height is it?"},
};

constexpr Wording kTest[] = {
    {0, "Tell me the total of {sum}."},
    {0, "Find {sum} step by step."},
    {0, "If x = {sum}, what is x?"},
    {0, "The expression {sum} equals what?"},
    {0, "Determine {sum}."},
    {0, "Begin at {first}; {orders}. State the final number."},
    {0, "Take the number {first} and {orders}. What number do you reach?"},
    {0, "A score of {first} changes by {changes}. What is the score now?"},
    {0, "On a game board {name} stands on field {first} and {deeds}. Name the last field."},
};

static_assert(std::size(kTrain) >= kMinTrainWordings && std::size(kTest) >= kMinTestWordings);

size_t draw_length(base::Rng& rng) {
  const int64_t dice = rng.integer(1, 20);
  return dice <= 10 ? 3 : dice <= 17 ? 4 : 5;
}

class ChainSums : public WordingTask {
 public:
  ChainSums() : WordingTask("chain_sums", kTrain, kTest) {}

 protected:
  Work fill(const Wording&, Split split, base::Rng& rng, Slots& slots) const override {
    const size_t length = draw_length(rng);
    int64_t total = operand(rng, split);
    std::string sum = std::to_string(total), steps;
    std::vector<std::string> orders, deeds, moves, changes;
    slots.set("first", total);
    for (size_t i = 1; i < length; ++i) {
      const int64_t term = operand(rng, split);
      const bool minus = rng.integer(0, 1) == 1 && total - term >= 1;
      const int64_t next = minus ? total - term : total + term;
      const std::string signed_term = base::cat(minus ? " - " : " + ", term);
      sum += signed_term;
      steps += base::cat(steps.empty() ? "" : "\n", total, signed_term, " = ", next, ".");
      orders.push_back(base::cat(minus ? "subtract " : "add ", term));
      deeds.push_back(base::cat(minus ? "subtracts " : "adds ", term));
      moves.push_back(base::cat(minus ? "down by " : "up by ", term));
      changes.push_back(base::cat(minus ? "-" : "+", term));
      total = next;
    }
    slots.set("sum", sum);
    slots.set("orders", base::join(orders, ", "));
    slots.set("deeds", base::join(deeds, ", "));
    slots.set("moves", base::join(moves, ", "));
    slots.set("changes", base::join(changes, ", "));
    return {steps, std::to_string(total)};
  }
};

}  // namespace

base::Entry<TaskFamily> chain_sums_entry() {
  return make_task_entry<ChainSums>("chain_sums", "sums and differences of three to five terms");
}

}  // namespace rqat::data
