#!/usr/bin/env bash
# Runs a debug recipe from scratch: run_recipe.sh RQAT RECIPE OUTPUT_DIR
# Its model is made as the recipe's "# rqat init ..." comment says, but beside the output: runs do not share it.
set -euo pipefail
rqat=$1 recipe=$2 output=$3
model=$output.model
rm -rf "$output" "$model"
init=$(sed -n 's/^# rqat init //p' "$recipe" | sed -E 's/--out +[^ ]+//')
if [ -z "$init" ]; then
  echo "run_recipe: $recipe has no '# rqat init ...' line that makes its model" >&2
  exit 1
fi
# shellcheck disable=SC2086  # the line is a list of options
"$rqat" init $init --out "$model"
"$rqat" train --config "$recipe" "output_dir=$output" "models.base.path=$model"
# The whole pipeline ran only if it got as far as the report.
if [ ! -s "$output/report.html" ]; then
  echo "run_recipe: $recipe left no report.html in $output" >&2
  exit 1
fi
# A second run finds every stage done.
again=$("$rqat" train --config "$recipe" "output_dir=$output" "models.base.path=$model" 2>&1)
kept=$(grep -c 'unchanged, kept' <<<"$again" || true)
stages=$(find "$output" -mindepth 2 -maxdepth 2 -name stage.json | wc -l)
if [ "$kept" != "$stages" ]; then
  echo "run_recipe: the second run kept $kept of $stages stages" >&2
  exit 1
fi
