#!/usr/bin/env bash
# The layout of the LibTorch zip (libtorch/{include,lib,share}, found through CMAKE_PREFIX_PATH) must configure, build and
# run. It is put together from the LibTorch in use, with symbolic links: libtorch_zip_layout.sh SOURCE_DIR BUILD_DIR TORCH
set -euo pipefail
source_dir=$1 torch=$3
work=$2/build_tests/libtorch_zip_layout
rm -rf "$work"
mkdir -p "$work/libtorch/lib"
ln -s "$torch/include" "$torch/share" "$work/libtorch/"
# The zip has the NVIDIA libraries in lib/ itself.
ln -s "$torch"/lib/*.so* "$work/libtorch/lib/"
for library in "$torch"/../nvidia/*/lib/lib*.so*; do
  [ ! -e "$library" ] || ln -sf "$library" "$work/libtorch/lib/"
done
env -u RQAT_LIBTORCH cmake -S "$source_dir" -B "$work/out" -G Ninja -DCMAKE_PREFIX_PATH="$work/libtorch" \
  -DRQAT_TESTS=OFF -DRQAT_CUDA=OFF -DCMAKE_BUILD_TYPE=Release >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
grep -q "LibTorch: .*$work/libtorch" "$work/configure.log" || { echo "another LibTorch was taken:"; cat "$work/configure.log"; exit 1; }
cmake --build "$work/out" --target rqat_layout_probe
LD_LIBRARY_PATH=$work/libtorch/lib "$work/out/rqat_layout_probe" | tee "$work/probe.log"
grep -q "^layout probe: 6$" "$work/probe.log"
