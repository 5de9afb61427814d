#!/usr/bin/env python3
"""Run clang-tidy over the sources, two at a time, skipping what was clean before.

usage: tidy.py BUILD_FOLDER

A source is remembered as clean by a hash of its preprocessed includes' contents (our own headers), its text and .clang-tidy, in the cache
folder, so a warm run costs seconds.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def closure(path: pathlib.Path, seen: set[pathlib.Path]) -> None:
    """Add `path` and every header of ours that it includes, however deep."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        closure(ROOT / "src" / name, seen)


def fingerprint(path: pathlib.Path) -> str:
    files: set[pathlib.Path] = set()
    closure(path, files)
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def check(build: str, path: pathlib.Path) -> tuple[pathlib.Path, str]:
    run = subprocess.run(["clang-tidy", "--quiet", "-p", build, str(path)], capture_output=True, text=True)
    return path, "" if run.returncode == 0 else run.stdout + run.stderr


def main() -> int:
    build = sys.argv[1]
    known = {pathlib.Path(entry["file"]).resolve() for entry in json.loads((ROOT / build / "compile_commands.json").read_text())}
    tracked = subprocess.run(["git", "ls-files", "src/*.cc"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    # Kernels are thousands of intrinsics that clang-tidy has nothing to say about; clang 14 does not know the CPU features that isa.cc asks for.
    skip = re.compile(r"(_avx2|_avx512|_simde_test|cpu/isa)\.cc$")
    sources = [ROOT / name for name in tracked if (ROOT / name) in known and not skip.search(name)]
    clean_folder = pathlib.Path(os.environ["CARRONADE_CACHE"]) / "tidy"
    clean_folder.mkdir(parents=True, exist_ok=True)
    todo = {path: mark for path in sources if not (mark := clean_folder / fingerprint(path)).exists()}
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, output in pool.map(lambda p: check(build, p), todo):
            if output:
                failed += 1
                print(output)
            else:
                todo[path].touch()
    print(f"clang-tidy: {len(sources)} files, {len(todo)} looked at, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
