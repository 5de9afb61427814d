#!/usr/bin/env bash
# Runs npm in web/, its packages installed as the lock file says:  scripts/web.sh run lint
set -euo pipefail
cd "$(dirname "$0")/../web"
if ! cmp -s package-lock.json node_modules/.carronade-lock; then
  # Swagger UI brings a package that reports each installation; it is told not to.
  SCARF_ANALYTICS=false npm ci --no-audit --no-fund
  cp package-lock.json node_modules/.carronade-lock
fi
exec npm "$@"
