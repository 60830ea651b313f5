#include "report_sections.h"

namespace rqat::pipeline::report {

std::string style_sheet() {
  return R"css(
:root { color-scheme: light dark; --page: #fdfdfb; --ink: #1d2126; --soft: #656d76; --grid: #e4e6e3; --rule: #c9ccc8;
  --main: #2d6aa8; --other: #a3a9ad; --accent: #c0761a; --box: #f4f5f2; --notice: #f8efd9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16191d; --ink: #e3e5e7; --soft: #98a0a9; --grid: #2a2f35; --rule: #464d55;
    --main: #6ba6e2; --other: #6f7780; --accent: #e0a04a; --box: #1f2328; --notice: #3a3120; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 24px 80px; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1, h2, h3 { font-family: Charter, "Iowan Old Style", Georgia, "DejaVu Serif", serif;
  font-weight: 600; line-height: 1.25; }
h1 { font-size: 30px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 22px; margin: 52px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 17px; margin: 30px 0 8px; }
h3 .remark { font: 13px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; margin-left: 6px; }
p { margin: 6px 0 12px; max-width: 76ch; }
.remark, .legend { color: var(--soft); font-size: 13px; }
.notice { background: var(--notice); padding: 8px 12px; border-radius: 4px; font-size: 14px; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; }
.legend span { display: inline-flex; align-items: center; gap: 7px; }
.swatch { width: 13px; height: 13px; border-radius: 2px; }
.swatch.main { background: var(--main); } .swatch.other { background: var(--other); }
.ring { width: 11px; height: 11px; border: 2px solid var(--accent); border-radius: 50%; }
.range { width: 20px; height: 9px; border: solid var(--ink); border-width: 0 1.3px;
  background: linear-gradient(var(--ink), var(--ink)) center / 100% 1.3px no-repeat; }
.pair, .curves, .small { display: grid; gap: 22px 36px; align-items: end; }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.pair figure { max-width: 640px; }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 16px 24px; }
header + section h2 { margin-top: 24px; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: 13.5px; margin-bottom: 4px; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; overflow: visible; font-size: 12px; }
svg text { fill: var(--ink); font-family: inherit; }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .value { font-weight: 600; }
.grid { stroke: var(--grid); } .axis { stroke: var(--rule); }
.bar.main { fill: var(--main); } .bar.other { fill: var(--other); }
.whisker { stroke: var(--ink); stroke-width: 1.3; }
.reference { stroke: var(--soft); stroke-dasharray: 2 3; }
.interval { stroke-width: 2; } .interval.main { stroke: var(--main); } .interval.open { stroke: var(--other); }
.dot.main { fill: var(--main); } .dot.other { fill: var(--other); }
.dot.open { fill: var(--page); stroke: var(--other); stroke-width: 2; }
.dot.accent { fill: none; stroke: var(--accent); stroke-width: 2; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.main { stroke: var(--main); } .line.other { stroke: var(--other); stroke-width: 1.4; }
.line.raw { stroke: var(--main); stroke-width: 1; opacity: 0.3; }
.band { fill: var(--main); opacity: 0.13; }
.hover { fill: transparent; } .hover:hover { fill: var(--ink); fill-opacity: 0.07; }
.scroll { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; min-width: 50%; }
th { font-weight: 600; text-align: left; vertical-align: bottom; color: var(--soft); }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--grid); }
thead th { border-bottom: 1px solid var(--rule); }
.numbers th:not(:first-child), .numbers td:not(:first-child) { text-align: right; padding: 5px 0 5px 14px; }
td { white-space: nowrap; }
.numbers td:first-child { font-weight: 600; }
.numbers th:first-child, .numbers td:first-child { position: sticky; left: 0; background: var(--page); }
.stages { width: 100%; } .stages .wide { width: 45%; padding-right: 0; }
.time { height: 10px; background: var(--other); min-width: 1px; border-radius: 1px; }
details { margin: 6px 0; } summary { cursor: pointer; color: var(--soft); font-size: 13.5px; }
pre { background: var(--box); padding: 10px 12px; border-radius: 4px; overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print { body { max-width: none; } section { break-inside: auto; } figure { break-inside: avoid; } }
)css";
}

}  // namespace rqat::pipeline::report
