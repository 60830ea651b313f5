#!/usr/bin/env bash
# Without Gloo and Arrow the product must build, and say what is missing where several ranks or Parquet files are asked for:
# without_gloo.sh SOURCE_DIR BUILD_DIR TORCH
set -euo pipefail
source_dir=$1 work=$2/build_tests/without_gloo
rm -rf "$work"
mkdir -p "$work"
cmake -S "$source_dir" -B "$work/out" -G Ninja -DRQAT_GLOO=OFF -DRQAT_PARQUET=OFF -DRQAT_TESTS=OFF -DRQAT_CUDA=OFF \
  >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
grep -q "Ranks on CPU: off" "$work/configure.log" && grep -q "Parquet: off" "$work/configure.log" || { cat "$work/configure.log"; exit 1; }
cmake --build "$work/out" --target rqat >"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; exit 1; }
rqat=$work/out/rqat
missing="this build has no Gloo: install libgloo-dev"
cd "$work"
"$rqat" init --family llama --hidden-size 16 --num-layers 1 --out tiny >/dev/null
printf '%s\n' "output_dir: out" "device: cpu" "models: {base: {path: tiny}}" "data: {d: {generators: [comparison], num_examples: 2}}" \
  "stages: [{id: sft, type: train, model: base, data: d, max_steps: 1, batch_size: 1}]" >recipe.yaml

expect() {  # CODE WORDS COMMAND...
  local code=$1 words=$2 status=0
  shift 2
  "$@" >out.log 2>&1 || status=$?
  if [ $status -ne "$code" ] || ! grep -qF "$words" out.log; then echo "$*: exit $status"; cat out.log; exit 1; fi
}
expect 0 "one process (this build has no Gloo" "$rqat" env
expect 2 "launch: $missing" "$rqat" launch --nproc-per-node 2 -- train --config recipe.yaml
expect 2 "RANK and its companions ask for 2 ranks, but $missing" env RANK=0 WORLD_SIZE=2 "$rqat" train --config recipe.yaml
: >x.parquet
expect 2 "x.parquet: this build cannot read Parquet; run tools/setup, configure with -DRQAT_PARQUET=ON" "$rqat" data preview x.parquet
expect 0 "done in" "$rqat" train --config recipe.yaml
cd / && rm -rf "$work"
