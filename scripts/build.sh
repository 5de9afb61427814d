#!/usr/bin/env bash
# Configures a preset once and builds targets of it:  scripts/build.sh PRESET [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1; shift
# Configure when that was never done, and again when set-up has brought something since.
newest_setup=$(ls -t "${CARRONADE_CACHE:-/nonexistent}"/setup-* 2>/dev/null | head -n 1 || true)
if [ ! -e "build/$preset/build.ninja" ] || [ "$newest_setup" -nt "build/$preset/build.ninja" ]; then
  cmake --preset "$preset" ${CMAKE_ARGS:-}
fi
cmake --build --preset "$preset" ${*:+--target "$@"}
