#!/usr/bin/env bash
# dist/carronade-VERSION-linux-ARCH.tar.gz: the program, its licence, its readme with what that links to, and INSTALL with the line that brings the shared libraries it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(build/release/carronade --version | awk '{print $NF}')
name=carronade-$version-linux-$(uname -m)
rm -rf "dist/$name"
mkdir -p "dist/$name"
install -s -m 755 build/release/carronade "dist/$name/"
# The packages of the libraries it names itself; apt brings theirs.
packages=$(objdump -p build/release/carronade | awk '$1 == "NEEDED" {print $2}' | while read -r library; do
  path=$(ldd build/release/carronade | awk -v name="$library" '$1 == name {print $3}')
  dpkg -S "$(readlink -f "$path")" || dpkg -S "$path" || true  # the loader has no path
done 2>/dev/null | cut -d: -f1 | sort -u | tr '\n' ' ')
{
  echo "Built on $(. /etc/os-release && echo "$PRETTY_NAME"). There the shared libraries come with"
  echo
  echo "    apt-get install --no-install-recommends $packages"
  echo
  echo "and then ./carronade --help tells the rest."
} >"dist/$name/INSTALL"
cp README.md README.zh-CN.md LICENSE CHANGELOG.md CONTRIBUTING.md SECURITY.md "dist/$name/"
cp -r docs deploy "dist/$name/"  # what the readme links to
python3 scripts/check_links.py "dist/$name" || true  # told, and no reason to have no package
tar -C dist -czf "dist/$name.tar.gz" "$name"
ls -lh "dist/$name.tar.gz"
