#!/usr/bin/env bash
# A new entry is its file and its line, in every registry: adds `probe` to a copy of each src/<module>/<kind>.def, compiles the
# registry and the new file with the build's own commands, and finds the new symbol wanted by the one and given by the other.
# new_entry.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$1 build=$2
work=$build/build_tests/new_entry
rm -rf "$work"
mkdir -p "$work"

# add_probe MODULE KIND HEADER NAMESPACE
add_probe() {
  local module=$1 kind=$2 header=$3 space=$4
  local folder=$work/src/$module
  mkdir -p "$folder/$kind"
  cp "$source_dir/src/$module/$kind.cpp" "$source_dir/src/$module/$kind.def" "$folder/"
  cp "$source_dir/src/$module/$kind"/*.cpp "$folder/$kind/"
  echo "RQAT_ENTRY(probe)" >>"$folder/$kind.def"
  cat >"$folder/$kind/probe.cpp" <<CPP
#include "$header"

namespace rqat::$space {

using ProbeEntry = std::decay_t<decltype($kind())>::EntryType;

ProbeEntry probe_entry() {
  ProbeEntry entry;
  entry.name = "probe";
  entry.help = "an entry that a test adds";
  entry.make_config = [] { return std::make_shared<base::NoConfig>(); };
  return entry;
}

}  // namespace rqat::$space
CPP
}

add_probe data tasks rqat/data/task.h data
add_probe model families rqat/model/causal_lm.h model
add_probe quant quantizers rqat/quant/quantizer.h quant
add_probe quant estimators rqat/quant/estimator.h quant
add_probe objective objectives rqat/objective/objective.h objective
add_probe optim optimizers rqat/optim/optimizer.h optim
add_probe ptq initializers rqat/ptq/initializer.h ptq
add_probe rl rewards rqat/rl/rollout.h rl
add_probe export exporters rqat/export/exporter.h exporting
add_probe pipeline stages rqat/pipeline/stage.h pipeline
add_probe cli commands rqat/cli/command.h cli

known=$(cd "$source_dir/src" && find . -name '*.def' | sort)
probed=$(cd "$work/src" && find . -name '*.def' | sort)
if [ "$known" != "$probed" ]; then
  echo "new_entry.sh does not know every registry:"
  diff <(echo "$known") <(echo "$probed") || true
  exit 1
fi

# The configure step accepts the copies: each line has its file.
cat >"$work/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.22)
project(new_entry LANGUAGES NONE)
include($source_dir/cmake/RqatRegistries.cmake)
rqat_check_registries($work/src)
CMAKE
cmake -S "$work" -B "$work/out" >/dev/null

# One shell line per object: the command of the registry's own source, for the copy and for the new file.
python3 - "$source_dir" "$build" "$work" >"$work/commands" <<'PY'
import json, os, shlex, sys
source, build, work = sys.argv[1:4]
commands = {entry["file"]: shlex.split(entry["command"]) for entry in json.load(open(build + "/compile_commands.json"))}
for folder, _, files in sorted(os.walk(work + "/src")):
    for name in sorted(files):
        if not name.endswith(".def"):
            continue
        original = os.path.join(folder, name[:-4] + ".cpp").replace(work, source)
        for copy in (os.path.join(folder, name[:-4] + ".cpp"), os.path.join(folder, name[:-4], "probe.cpp")):
            words = list(commands[original])
            words[words.index("-o") + 1] = copy[:-4] + ".o"
            words[words.index("-c") + 1] = copy
            print(shlex.join(words))
PY
cd "$build"
xargs -d '\n' -P 2 -n 1 bash -c <"$work/commands"

for def in $probed; do
  kind=${def%.def}
  wanted=$(nm "$work/src/$kind.o" | awk '$1 == "U" && /probe_entry/ { print $2 }')
  given=$(nm "$work/src/$kind/probe.o" | awk '$2 == "T" && /probe_entry/ { print $3 }')
  if [ -z "$wanted" ] || [ "$wanted" != "$given" ]; then
    echo "$kind: the registry wants '$wanted', the new file gives '$given'"
    exit 1
  fi
done
echo "$(echo "$probed" | wc -l) registries take a new entry by its file and its line"
rm -rf "$work"
