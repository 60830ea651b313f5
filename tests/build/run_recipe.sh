#!/usr/bin/env bash
# Runs a debug recipe from scratch: run_recipe.sh RQAT RECIPE OUTPUT_DIR
set -euo pipefail
rqat=$1 recipe=$2 output=$3
rm -rf "$output"
"$rqat" train --config "$recipe" "output_dir=$output"
# The whole pipeline ran only if it got as far as the report.
if [ ! -s "$output/report.html" ]; then
  echo "run_recipe: $recipe left no report.html in $output" >&2
  exit 1
fi
