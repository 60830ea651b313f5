// Verifiable reasoning problems made by the program: a family draws a problem with a worked solution and can tell
// whether a response to it is right.
//
// Train and test never share a problem, by construction:
//  - kTest uses wordings that kTrain never uses, and numbers that training never shows: of the numbers from 10 up,
//    training questions hold those of 10..39 and 60..89, test questions those of 40..59 and 90 up (single digits occur
//    in both). temporal_ordering has sets of its own for minutes, weekdays and years. Half of the names and objects are
//    new.
//  - kTestInDistribution uses the wordings and numbers of kTrain, but a question belongs to it exactly when the stable
//    hash of its text is 0 modulo 8, and to kTrain exactly when it is not.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/base/rng.h"

namespace rqat::data {

struct Problem {
  std::string family;
  std::string question;
  std::string solution;      ///< worked steps, ending with the line "#### <answer>"
  std::string answer;        ///< what `solution` ends with: a number, a word, or a list "12, 45, 93"
  uint64_t template_id = 0;  ///< stable hash of family and wording; differs between any two wordings
};

enum class Split {
  kTrain,
  kTest,                ///< unseen wordings and unseen numbers
  kTestInDistribution,  ///< wordings and numbers of training, other problems
};

/// "train", "test", "test_in_distribution".
std::string_view split_name(Split split);
/// The split of that name. Throws ConfigError that lists the three.
Split split_from_name(std::string_view name);

/// Every family has at least so many wordings.
inline constexpr size_t kMinTrainWordings = 20;
inline constexpr size_t kMinTestWordings = 8;

class TaskFamily {
 public:
  virtual ~TaskFamily() = default;
  virtual std::string_view name() const = 0;
  /// One problem; the same state of `rng` gives the same problem on every machine.
  virtual Problem generate(base::Rng& rng, Split split) const = 0;
  /// Whether `response` states the right answer: answer::extract, then answer::equal.
  virtual bool check(const Problem& problem, std::string_view response) const;
};

/// Kind "tasks"; entries are listed in src/data/tasks.def.
const base::Registry<TaskFamily>& tasks();

/// `count` problems, round-robin over `families`. Problem i is drawn from the stream (seed, "family/split", i), and
/// again while its question occurred before in this call, so the first n problems are the same for every count >= n.
/// Throws ConfigError for an empty list, an unknown family or a negative count, DataError where a family cannot give so
/// many distinct questions.
std::vector<Problem> generate_problems(const std::vector<std::string>& families, Split split, int64_t count,
                                       uint64_t seed);
/// The same for families that need not be in the registry.
std::vector<Problem> generate_problems(const std::vector<std::shared_ptr<const TaskFamily>>& families, Split split,
                                       int64_t count, uint64_t seed);

}  // namespace rqat::data
