#include "task_text.h"

#include <algorithm>
#include <stdexcept>

#include "rqat/base/strings.h"

namespace rqat::data {
namespace {

struct Name {
  std::string_view text;
  bool female;
};

struct Noun {
  std::string_view plural, singular;
};

/// What training draws from, and what only the test adds.
template <class T>
struct Pool {
  std::span<const T> seen, unseen;
};

constexpr Name kNames[] = {
    {"Tom", false},  {"Anna", true},  {"Ben", false},  {"Lucy", true}, {"Sam", false},  {"Mia", true},
    {"Jack", false}, {"Emma", true},  {"Max", false},  {"Sara", true}, {"Leo", false},  {"Nina", true},
    {"Paul", false}, {"Kate", true},  {"Adam", false}, {"Rosa", true}, {"Omar", false}, {"Lily", true},
    {"Mark", false}, {"Julia", true}, {"Eric", false}, {"Ella", true}, {"John", false}, {"Maria", true},
};
constexpr Name kNewNames[] = {
    {"David", false}, {"Grace", true}, {"Henry", false}, {"Alice", true}, {"Victor", false}, {"Sophie", true},
    {"Peter", false}, {"Laura", true}, {"Simon", false}, {"Clara", true}, {"Oscar", false},  {"Helen", true},
};

constexpr Noun kItems[] = {
    {"apples", "apple"},   {"marbles", "marble"}, {"books", "book"},     {"pencils", "pencil"}, {"stickers", "sticker"},
    {"coins", "coin"},     {"shells", "shell"},   {"cards", "card"},     {"stamps", "stamp"},   {"beads", "bead"},
    {"buttons", "button"}, {"balls", "ball"},     {"cookies", "cookie"}, {"pears", "pear"},     {"toys", "toy"},
    {"pens", "pen"},       {"eggs", "egg"},       {"nuts", "nut"},
};
constexpr Noun kNewItems[] = {
    {"lemons", "lemon"},   {"badges", "badge"},   {"ribbons", "ribbon"}, {"candles", "candle"},
    {"crayons", "crayon"}, {"magnets", "magnet"}, {"peaches", "peach"},  {"postcards", "postcard"},
};

constexpr Noun kBoxes[] = {
    {"boxes", "box"}, {"bags", "bag"}, {"baskets", "basket"}, {"jars", "jar"}, {"crates", "crate"},
};
constexpr Noun kNewBoxes[] = {{"drawers", "drawer"}, {"buckets", "bucket"}, {"trays", "tray"}};

// All begin with a consonant, so that "a" fits.
constexpr std::string_view kEvents[] = {"concert", "meeting", "lunch", "lesson", "game", "movie",
                                        "party",   "parade",  "race",  "picnic", "tour", "test"};
constexpr std::string_view kNewEvents[] = {"workshop", "festival", "rehearsal", "speech", "dinner", "walk"};

constexpr std::string_view kPlaces[] = {"bridge",  "tower",   "library", "museum", "school", "church",
                                        "station", "theater", "park",    "zoo",    "bank",   "mill"};
constexpr std::string_view kNewPlaces[] = {"hospital", "castle", "market", "stadium", "harbor", "palace"};

constexpr Pool<Name> kNamePool{kNames, kNewNames};
constexpr Pool<Noun> kItemPool{kItems, kNewItems};
constexpr Pool<Noun> kBoxPool{kBoxes, kNewBoxes};
constexpr Pool<std::string_view> kEventPool{kEvents, kNewEvents};
constexpr Pool<std::string_view> kPlacePool{kPlaces, kNewPlaces};

// Of the questions that fit training, this share goes to the in-distribution test.
constexpr uint64_t kHeldOutModulus = 8;

template <class T>
const T& draw(const Pool<T>& pool, base::Rng& rng, Split split) {
  const bool unseen = split == Split::kTest && rng.integer(0, 1) == 1;
  return pick(rng, unseen ? pool.unseen : pool.seen);
}

template <class T>
std::vector<const T*> draw_distinct(const Pool<T>& pool, base::Rng& rng, Split split, size_t count) {
  std::vector<const T*> drawn;
  while (drawn.size() < count) {
    const T* next = &draw(pool, rng, split);
    if (std::find(drawn.begin(), drawn.end(), next) == drawn.end()) drawn.push_back(next);
  }
  return drawn;
}

Slots cast(base::Rng& rng, Split split) {
  Slots slots;
  const auto names = draw_distinct(kNamePool, rng, split, 3);
  slots.set("name", std::string(names[0]->text));
  slots.set("name2", std::string(names[1]->text));
  slots.set("name3", std::string(names[2]->text));
  slots.set("he", names[0]->female ? "she" : "he");
  slots.set("He", names[0]->female ? "She" : "He");
  slots.set("his", names[0]->female ? "her" : "his");
  const Noun& items = draw(kItemPool, rng, split);
  slots.set("items", std::string(items.plural));
  slots.set("item", std::string(items.singular));
  const Noun& boxes = draw(kBoxPool, rng, split);
  slots.set("boxes", std::string(boxes.plural));
  slots.set("box", std::string(boxes.singular));
  const auto events = draw_distinct(kEventPool, rng, split, 3);
  const auto places = draw_distinct(kPlacePool, rng, split, 3);
  for (size_t i = 0; i < 3; ++i) {
    slots.set(base::cat("event", i + 1), std::string(*events[i]));
    slots.set(base::cat("place", i + 1), std::string(*places[i]));
  }
  return slots;
}

bool belongs(const std::string& question, Split split) {
  if (split == Split::kTest) return true;
  const bool held_out = base::stable_hash(question) % kHeldOutModulus == 0;
  return held_out == (split == Split::kTestInDistribution);
}

}  // namespace

const std::string& Slots::at(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw std::logic_error(base::cat("wording uses slot {", name, "}, which nobody set"));
  return found->second;
}

std::string render(std::string_view text, const Slots& slots) {
  std::string out;
  while (true) {
    const size_t open = text.find('{');
    out += text.substr(0, open);
    if (open == std::string_view::npos) return out;
    const size_t close = text.find('}', open);
    if (close == std::string_view::npos) throw std::logic_error(base::cat("'", text, "' lacks a closing brace"));
    out += slots.at(text.substr(open + 1, close - open - 1));
    text.remove_prefix(close + 1);
  }
}

Problem WordingTask::generate(base::Rng& rng, Split split) const {
  while (true) {
    const Wording& wording = pick(rng, split == Split::kTest ? test_ : train_);
    Slots slots = cast(rng, split);
    const Work work = fill(wording, split, rng, slots);
    Problem problem;
    problem.question = render(wording.text, slots);
    if (!belongs(problem.question, split)) continue;
    problem.family = name_;
    problem.answer = render(work.answer, slots);
    problem.solution = base::cat(render(work.steps, slots), "\n#### ", problem.answer);
    problem.template_id = base::stable_hash(base::cat(name_, "\n", wording.text));
    return problem;
  }
}

bool is_training_number(int64_t number) { return number < 40 || (number >= 60 && number < 90); }

int64_t operand(base::Rng& rng, Split split) {
  while (true) {
    const int64_t number = rng.integer(3, 99);
    const bool test = split == Split::kTest;
    if (is_training_number(number) != test) return number;
  }
}

int64_t factor(base::Rng& rng) { return rng.integer(2, 9); }

int64_t group_size(base::Rng& rng, Split split) {
  static constexpr int64_t kTrain[] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 20, 25, 30};
  static constexpr int64_t kTest[] = {40, 45, 50, 55, 90};
  return split == Split::kTest ? pick<int64_t>(rng, kTest) : pick<int64_t>(rng, kTrain);
}

std::vector<int64_t> distinct_operands(base::Rng& rng, Split split, size_t count) {
  std::vector<int64_t> numbers;
  while (numbers.size() < count) {
    const int64_t next = operand(rng, split);
    if (std::find(numbers.begin(), numbers.end(), next) == numbers.end()) numbers.push_back(next);
  }
  return numbers;
}

}  // namespace rqat::data
