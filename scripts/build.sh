#!/usr/bin/env bash
# Configures a preset once and builds targets of it:  scripts/build.sh PRESET [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1; shift
if [ ! -e "build/$preset/build.ninja" ]; then
  cmake --preset "$preset" ${CMAKE_ARGS:-}
fi
cmake --build --preset "$preset" ${*:+--target "$@"}
