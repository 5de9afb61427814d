#!/usr/bin/env bash
# Everything a reviewer should not have to say: formatting, clang-tidy, the rooms' borders, the documents' links, the page's linters.
#   scripts/lint.sh [--no-tidy | --tidy-minutes N]     N: see scripts/tidy.py
set -uo pipefail
tidy_limit=()
[ "${1:-}" != --tidy-minutes ] || tidy_limit=(--minutes "$2")
cd "$(dirname "$0")/.."
source scripts/env.sh
failed=0
step() {
  local name=$1 started=$SECONDS; shift
  if "$@"; then echo "lint: $name: ok ($((SECONDS - started)) s)"; else echo "lint: $name: FAILED"; failed=1; fi
}

format() { git ls-files '*.h' '*.cc' | xargs clang-format --dry-run --Werror; }
layers() { python3 scripts/check_layers.py; }
links() { python3 scripts/check_links.py; }
web() { scripts/web.sh run lint && scripts/web.sh run check; }
# A file whose text, headers and settings were clean before is not looked at again.
tidy() {
  [ -e build/release/compile_commands.json ] || cmake --preset release >/dev/null || return 1
  python3 scripts/tidy.py build/release ${tidy_limit[@]+"${tidy_limit[@]}"}
}

step format format
step layers layers
step links links
[ ! -e web/package.json ] || step page web
[ "${1:-}" = --no-tidy ] || step clang-tidy tidy
exit $failed
