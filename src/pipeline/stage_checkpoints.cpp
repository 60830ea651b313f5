#include "stage_checkpoints.h"

#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"

namespace rqat::pipeline {

using base::cat;

std::filesystem::path checkpoint_folder(const std::filesystem::path& stage_folder) {
  return stage_folder / "checkpoints";
}

StageCheckpoints::StageCheckpoints(StageRun& run, std::string prefix, int64_t total_limit)
    : run_(run), prefix_(prefix), writer_(checkpoint_folder(run.shared_folder), std::move(prefix), total_limit) {
  if (run.continuable && run.is_main()) base::remove_leftovers(checkpoint_folder(run.folder));
}

std::optional<io::Checkpoint> StageCheckpoints::read(const std::filesystem::path& path) const {
  try {
    io::Checkpoint checkpoint = io::read_checkpoint(path);
    run_.seconds_before = io::parse_json(checkpoint.state, path.string()).value("seconds", 0.0);
    return checkpoint;
  } catch (const base::IoError& error) {
    base::log_warning(cat("stage ", run_.id, ": ", error.what(), "; going back to the one before"));
    return std::nullopt;
  }
}

std::optional<io::Checkpoint> StageCheckpoints::newest() const {
  if (!run_.continuable) return std::nullopt;
  auto places = io::list_checkpoints(checkpoint_folder(run_.shared_folder), prefix_);
  for (; !places.empty(); places.pop_back()) {
    if (auto checkpoint = read(places.back().path)) return checkpoint;
    // Its number will come again.
    if (run_.is_main()) base::remove_folder(places.back().path);
  }
  return std::nullopt;
}

std::optional<io::Checkpoint> StageCheckpoints::find(int64_t number) const {
  if (!run_.continuable) return std::nullopt;
  for (const io::CheckpointPlace& place : io::list_checkpoints(checkpoint_folder(run_.shared_folder), prefix_)) {
    if (place.number == number) return read(place.path);
  }
  return std::nullopt;
}

void StageCheckpoints::save(int64_t number, nlohmann::json state, const io::TensorMap& tensors) {
  if (!run_.continuable || !run_.is_main()) return;
  state["seconds"] = run_.seconds();
  base::make_folders(checkpoint_folder(run_.shared_folder));
  writer_.save(number, {state.dump(), tensors});
}

void StageCheckpoints::stop(const std::string& progress) {
  wait();
  throw base::Interrupted(base::requested_stop(),
                          cat("stage ", run_.id, ": stopped after ", progress, ", saved in ",
                              checkpoint_folder(run_.shared_folder).string(), run_.how_to_go_on));
}

}  // namespace rqat::pipeline
