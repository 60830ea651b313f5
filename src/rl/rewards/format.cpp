#include "rqat/rl/rollout.h"

namespace rqat::rl {

namespace {

struct FormatConfig : base::Config {
  double weight = 0.1;
  std::string marker = "####";
  bool require_finished = true;
  void fields(base::FieldVisitor& v) override {
    v.field("weight", weight, "added to the correctness reward when the marker is there", base::non_negative());
    v.field("marker", marker, "text that leads the final answer");
    v.field("require_finished", require_finished, "a response cut at the limit earns 0, whatever it says");
  }
  std::vector<std::string> check() const override {
    if (marker.empty()) return {"marker is empty, expected the text that leads the final answer, \"####\" say"};
    return {};
  }
};

class Format : public Reward {
 public:
  explicit Format(FormatConfig config) : config_(std::move(config)) {}
  double score(const data::Record& record, const std::string& response, bool finished) const override {
    if (config_.require_finished && !finished) return 0;
    const bool marked = response.find(config_.marker) != std::string::npos;
    return (data::check_response(record, response) ? 1.0 : 0.0) + (marked ? config_.weight : 0.0);
  }

 private:
  FormatConfig config_;
};

}  // namespace

base::Entry<Reward> format_entry() {
  return base::make_entry<base::Entry<Reward>, FormatConfig>(
      "format", "correctness, and a little more when the answer marker is there", "2501.12948",
      [](const FormatConfig& config) { return std::make_unique<Format>(config); });
}

}  // namespace rqat::rl
