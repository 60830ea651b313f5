#include "support.h"

#include <sched.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/folders.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/missing_model.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;
using base::cat;

/// Characters, not bytes: names of tokens and families may be UTF-8.
size_t display_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string version_text() { return cat("rqat ", RQAT_VERSION, " (LibTorch ", TORCH_VERSION, ")"); }

std::string command_without(const std::vector<std::string>& options) {
  std::string text = base::read_file("/proc/self/cmdline"), command;
  if (!text.empty() && text.back() == '\0') text.pop_back();
  for (const std::string& word : base::split(text, '\0')) {
    if (std::find(options.begin(), options.end(), word) != options.end()) continue;
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_-+=./,:@%") == std::string::npos;
    if (!command.empty()) command += " ";
    command += plain ? word : cat("'", base::replace_all(word, "'", "'\\''"), "'");
  }
  return command;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (quota_file >> quota >> period && period > 0)
    cores = std::min(cores, static_cast<int>(std::lround(quota / period)));
  return std::max(1, cores);
}

void require_free(const fs::path& folder, bool overwrite, const std::vector<fs::path>& inputs,
                  const std::vector<std::string>& marks) {
  if (!fs::exists(folder)) return;
  for (const fs::path& input : inputs) {
    if (!base::lies_in(input, folder) && !base::lies_in(folder, input)) continue;
    throw base::UsageError(cat("'", folder.string(), "' is, holds or lies in '", input.string(),
                               "', which the command reads; name another folder"));
  }
  if (!fs::is_directory(folder))
    throw base::UsageError(cat("'", folder.string(), "' is a file; name a folder to write"));
  if (fs::is_empty(folder)) return;
  if (!overwrite) {
    throw base::UsageError(
        cat("'", folder.string(), "' is not empty; name another folder, or replace it with --overwrite"));
  }
  if (std::none_of(marks.begin(), marks.end(), [&](const std::string& name) { return fs::exists(folder / name); })) {
    throw base::UsageError(cat("'", folder.string(), "' holds other things than this command writes (no ",
                               base::join(marks, ", "), "); it is not overwritten"));
  }
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

fs::path as_model_folder(const fs::path& model, const ScratchFolder& scratch) {
  if (!fs::exists(model)) {
    throw base::IoError(
        cat(model.string(), ": no such model folder or GGUF file", pipeline::missing_model_advice(model)));
  }
  if (!pipeline::needs_import(model)) return model;
  // Two files may have one name.
  fs::path folder = scratch.path() / base::hex64(base::stable_hash(fs::absolute(model).string())) / model.stem();
  if (!fs::exists(folder)) pipeline::import_model(model, folder, "bfloat16");
  return folder;
}

std::string table_text(const std::vector<std::vector<std::string>>& rows, const std::vector<size_t>& right) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - display_width(row[i]), ' ');
      const bool to_the_right = std::find(right.begin(), right.end(), i) != right.end();
      line += cat(i == 0 ? "" : "  ", to_the_right ? cat(blanks, row[i]) : cat(row[i], blanks));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace rqat::cli
