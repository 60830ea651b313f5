#!/usr/bin/env bash
# `cmake --install` must give a folder that works after it was moved: install_relocatable.sh SOURCE_DIR BUILD_DIR TORCH
set -euo pipefail
build=$2 torch=$3
work=$build/build_tests/install
rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/first" >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
mv "$work/first" "$work/moved"
[ -f "$work/moved/share/rqat/recipes/quickstart.yaml" ] || { echo "the recipes are not installed"; exit 1; }

libraries=$(ldd "$work/moved/bin/rqat")
if grep -E "not found" <<<"$libraries"; then echo "libraries are missing"; exit 1; fi
for folder in "$torch" "$(dirname "$torch")/nvidia" "$work/first"; do
  if grep -F "=> $folder/" <<<"$libraries"; then echo "the moved program still uses $folder"; exit 1; fi
done
grep -F "=> $work/moved/" <<<"$libraries" | grep -q libtorch_cpu.so || { echo "libtorch_cpu.so is not in the prefix"; exit 1; }
if readelf -d "$work/moved/bin/rqat" | grep -E 'R(UN)?PATH' | grep -F "$build"; then echo "RPATH names the build folder"; exit 1; fi
(cd / && env -u LD_LIBRARY_PATH "$work/moved/bin/rqat" --version)
rm -rf "$work"
