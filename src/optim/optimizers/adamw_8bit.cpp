#include "adamw.h"

namespace rqat::optim {

namespace {

struct AdamW8BitConfig : AdamWConfig {
  int64_t min_8bit_size = 4096;
  void fields(base::FieldVisitor& v) override {
    AdamWConfig::fields(v);
    v.field("min_8bit_size", min_8bit_size, "parameters of fewer values keep fp32 moments", base::non_negative());
  }
};

}  // namespace

base::Entry<Optimizer, std::vector<Slot>> adamw_8bit_entry() {
  return base::make_entry<base::Entry<Optimizer, std::vector<Slot>>, AdamW8BitConfig>(
      "adamw_8bit", "adamw with both moments in 8 bits: 2 bytes of state per weight instead of 8", "2110.02861",
      [](const AdamW8BitConfig& config, std::vector<Slot> slots) {
        return std::make_unique<AdamW>(config, std::move(slots), config.min_8bit_size);
      });
}

}  // namespace rqat::optim
