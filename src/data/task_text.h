// What the task families share: wordings with slots, the cast of names and objects, and the numbers of each split.
//
// A wording is text with slots: "{name} has {a} {items}." Each family fills its number slots; these are always there:
//   {name} {name2} {name3}     three different first names
//   {he} {He} {his}            pronouns of {name}
//   {items} {item}             an object, plural and singular
//   {boxes} {box}              a container, plural and singular
//   {event1} {event2} {event3} three different events, {place1} ... three different places
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rqat/data/task.h"

namespace rqat::data {

struct Wording {
  int kind;  ///< the family's own enumeration
  std::string_view text;
  std::string_view unit = "{items}";  ///< what the result counts, for solutions that name it
};

/// Slot values by name.
class Slots {
 public:
  void set(std::string_view name, std::string value) { values_[std::string(name)] = std::move(value); }
  void set(std::string_view name, int64_t value) { set(name, std::to_string(value)); }
  /// Throws std::logic_error for a slot that was never set.
  const std::string& at(std::string_view name) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

/// `text` with each {slot} replaced. Throws std::logic_error for an unknown slot or a brace that is never closed.
std::string render(std::string_view text, const Slots& slots);

/// Worked steps and the final answer, both with slots.
struct Work {
  std::string steps;  ///< without the "####" line
  std::string answer;
};

/// A family of wordings: picks one, lets the family fill it, renders question and solution, and draws again until the
/// question belongs to the split.
class WordingTask : public TaskFamily {
 public:
  WordingTask(std::string_view name, std::span<const Wording> train, std::span<const Wording> test)
      : name_(name), train_(train), test_(test) {}
  std::string_view name() const final { return name_; }
  Problem generate(base::Rng& rng, Split split) const final;

 protected:
  /// Draws the numbers of one problem into `slots`.
  virtual Work fill(const Wording& wording, Split split, base::Rng& rng, Slots& slots) const = 0;

 private:
  std::string_view name_;
  std::span<const Wording> train_, test_;
};

template <class T>
const T& pick(base::Rng& rng, std::span<const T> items) {
  return items[static_cast<size_t>(rng.integer(0, static_cast<int64_t>(items.size()) - 1))];
}

/// A term, a count or a price: 3..39 and 60..89 in training, 40..59 and 90..99 in the test.
int64_t operand(base::Rng& rng, Split split);
/// A count of groups: 2..9 in every split.
int64_t factor(base::Rng& rng);
/// The size of a group: 3..12, 15, 20, 25, 30 in training; 40, 45, 50, 55, 90 in the test.
int64_t group_size(base::Rng& rng, Split split);
/// Whether training may show `number` (>= 10) as given; tests show the others.
bool is_training_number(int64_t number);

/// `count` different operands.
std::vector<int64_t> distinct_operands(base::Rng& rng, Split split, size_t count);

template <class Family>
base::Entry<TaskFamily> make_task_entry(std::string name, std::string help) {
  return base::make_entry<base::Entry<TaskFamily>, base::NoConfig>(
      std::move(name), std::move(help), "", [](const base::NoConfig&) { return std::make_unique<Family>(); });
}

}  // namespace rqat::data
