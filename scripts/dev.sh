#!/usr/bin/env bash
# The server on its ports and Vite's development server, which passes /v1 and /health on to it. Both end with Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
build/release/carronade serve "$@" &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true' EXIT
scripts/web.sh run dev
