// The parts of the page. Each returns HTML, or "" when the run has nothing to show there.
#pragma once

#include <string>

#include "report_data.h"

namespace rqat::pipeline::report {

std::string header_section(const RunView& run);
/// Accuracy bars, a sentence, tables and paired differences of each evaluation.
std::string results_section(const RunView& run);
/// Curves of each stage that wrote metrics.
std::string training_section(const RunView& run);
/// Error of each layer against round-to-nearest.
std::string quantization_section(const RunView& run);
/// Files, what reading them back showed, how to serve them.
std::string export_section(const RunView& run);
/// All stages with time and settings, and the resolved recipe.
std::string stages_section(const RunView& run);

/// Style sheet of the page, light and dark.
std::string style_sheet();

// Pieces that sections share.

/// A chart under a caption: title, then a remark in lighter type.
std::string figure(const std::string& title, const std::string& remark, const std::string& svg);
/// Marks with their names: (class of the mark, name).
std::string legend(const std::vector<std::pair<std::string, std::string>>& entries);
/// Cells are text; the class "numbers" aligns all but the first column right.
std::string table_html(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                       const std::string& style);
std::string details(const std::string& summary, const std::string& html);
/// "4.2 s", "12 min 5 s", "1 h 3 min".
std::string duration_text(double seconds);
/// "2026-11-22 01:16 UTC".
std::string date_text(double unix_seconds);

}  // namespace rqat::pipeline::report
