#include "block_checkpoints.h"

#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/quant/state.h"

namespace rqat::pipeline {

nlohmann::json to_json(const std::vector<ptq::LayerReport>& reports) {
  nlohmann::json rows = nlohmann::json::array();
  for (const ptq::LayerReport& report : reports) {
    rows.push_back({{"layer", report.layer},
                    {"format", report.format},
                    {"error", report.error},
                    {"rtn_error", report.rtn_error},
                    {"fallback", report.fallback},
                    {"note", report.note},
                    {"seconds", report.seconds}});
  }
  return rows;
}

namespace {

ptq::LayerReport report_of(const nlohmann::json& row) {
  return {row.at("layer"),    row.at("format"), row.at("error"),  row.at("rtn_error"),
          row.at("fallback"), row.at("note"),   row.at("seconds")};
}

}  // namespace

bool BlockCheckpoints::restore(int64_t block, const std::vector<nn::LinearBase*>& layers,
                               std::vector<ptq::LayerReport>& reports) {
  const auto checkpoint = checkpoints_.find(block + 1);
  if (!checkpoint) return false;
  quant::load_state(layers, checkpoint->tensors);
  const nlohmann::json state = io::parse_json(checkpoint->state, "checkpoint");
  for (const nlohmann::json& row : state.at("reports")) reports.push_back(report_of(row));
  base::log_info(base::cat("stage ", run_.id, ": block ", block + 1, " is there already"));
  return true;
}

void BlockCheckpoints::save(int64_t block, const std::vector<nn::LinearBase*>& layers,
                            const std::vector<ptq::LayerReport>& reports) {
  if (!run_.continuable) return;
  checkpoints_.save(block + 1, {{"reports", to_json(reports)}}, quant::state_tensors(layers));
  if (base::requested_stop() != 0) checkpoints_.stop(base::cat("block ", block + 1));
}

}  // namespace rqat::pipeline
