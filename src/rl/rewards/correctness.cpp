#include "rqat/rl/rollout.h"

namespace rqat::rl {

namespace {

struct CorrectnessConfig : base::Config {
  bool require_finished = true;
  void fields(base::FieldVisitor& v) override {
    v.field("require_finished", require_finished, "a response cut at the limit earns 0, whatever it says");
  }
};

class Correctness : public Reward {
 public:
  explicit Correctness(bool require_finished) : require_finished_(require_finished) {}
  double score(const data::Record& record, const std::string& response, bool finished) const override {
    if (require_finished_ && !finished) return 0;
    return data::check_response(record, response) ? 1 : 0;
  }

 private:
  bool require_finished_;
};

}  // namespace

base::Entry<Reward> correctness_entry() {
  return base::make_entry<base::Entry<Reward>, CorrectnessConfig>(
      "correctness", "1 when the final answer is right, else 0", "2402.03300",
      [](const CorrectnessConfig& config) { return std::make_unique<Correctness>(config.require_finished); });
}

}  // namespace rqat::rl
