#!/usr/bin/env bash
# dist/carronade-VERSION-linux-ARCH.tar.gz: the program, its licence and its readme. It needs the same shared libraries as the build.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(build/release/carronade --version | awk '{print $NF}')
name=carronade-$version-linux-$(uname -m)
rm -rf "dist/$name"
mkdir -p "dist/$name"
install -s -m 755 build/release/carronade "dist/$name/"
cp README.md README.zh-CN.md LICENSE CHANGELOG.md "dist/$name/"
tar -C dist -czf "dist/$name.tar.gz" "$name"
ls -lh "dist/$name.tar.gz"
