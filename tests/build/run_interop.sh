#!/usr/bin/env bash
# Runs one interop script in the venv of tools/setup --interop: run_interop.sh SOURCE_DIR RQAT SCRIPT
# Without the venv it is skipped (77), or fails where RQAT_REQUIRE_INTEROP is set.
set -euo pipefail
source_dir=$1 rqat=$2 script=$3
python=$source_dir/.venvs/interop/bin/python
if [ ! -x "$python" ]; then
  echo "skipped: .venvs/interop is missing; tools/setup --interop makes it"
  if [ -n "${RQAT_REQUIRE_INTEROP:-}" ]; then exit 1; fi
  exit 77
fi
export RQAT_BIN=$rqat RQAT_SOURCE_DIR=$source_dir HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pytest -q -rs -p no:cacheprovider "$script"
