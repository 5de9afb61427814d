#!/usr/bin/env python3
"""Run clang-tidy over the sources, as many at a time as there are processors, skipping what was clean before.

usage: tidy.py BUILD_FOLDER [--minutes N] [PATH...]      (PATH: files, or folders of them; default: all)

A source is remembered as clean by a hash of its text, our own headers that it includes, however deep, and .clang-tidy, in the cache folder:
a warm run costs seconds. With --minutes, as many are looked at as can be begun within N minutes: first those that the last commits touched
(they, or the header of their name); the runs after it go on with what was left.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
# Kernels are thousands of intrinsics that clang-tidy has nothing to say about; clang 14 does not know the CPU features that isa.cc asks for.
SKIP = re.compile(r"(_avx2|_avx512|_avx512bf16|_amx|_simde_test|cpu/isa)\.cc$")


def closure(path: pathlib.Path, seen: set[pathlib.Path]) -> None:
    """Add `path` and every header of ours that it includes, however deep."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        closure(ROOT / "src" / name, seen)


def fingerprint(files: set[pathlib.Path]) -> str:
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def git(*arguments: str) -> list[str]:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.split() if run.returncode == 0 else []


def lately_changed() -> set[pathlib.Path]:
    """Files that differ from the main branch, or on it from the commit before, and those not committed yet."""
    head, main = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "origin/main")
    base = main if main and main != head else git("rev-parse", "HEAD~1")
    return {ROOT / name for name in (git("diff", "--name-only", *base) if base else [])}


def check(build: str, path: pathlib.Path, deadline: float | None) -> str | None:
    """What clang-tidy says; None when there was no time to ask it."""
    if deadline is not None and time.monotonic() > deadline:
        return None
    run = subprocess.run(["clang-tidy", "--quiet", "-p", build, str(path)], capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("paths", nargs="*", default=["."])
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    started = time.monotonic()
    known = {pathlib.Path(entry["file"]).resolve() for entry in json.loads((ROOT / options.build / "compile_commands.json").read_text())}
    sources = [ROOT / name for name in git("ls-files", *options.paths) if name.endswith(".cc") and (ROOT / name) in known and not SKIP.search(name)]
    clean_folder = pathlib.Path(os.environ["CARRONADE_CACHE"]) / "tidy"
    clean_folder.mkdir(parents=True, exist_ok=True)
    changed = lately_changed() if options.minutes is not None else set()
    deadline = None if options.minutes is None else started + 60 * options.minutes
    todo: list[tuple[pathlib.Path, pathlib.Path]] = []  # source, its mark
    for path in sources:
        files: set[pathlib.Path] = set()
        closure(path, files)
        mark = clean_folder / fingerprint(files)
        if not mark.exists():
            todo.append((path, mark))
    todo.sort(key=lambda one: one[0] not in changed and one[0].with_suffix(".h") not in changed)
    failed = left = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outputs = pool.map(lambda one: check(options.build, one[0], deadline), todo)
        for (_, mark), output in zip(todo, outputs):
            if output is None:
                left += 1
            elif output:
                failed += 1
                print(output, flush=True)
            else:
                mark.touch()
    print(f"clang-tidy: {len(sources)} files, {len(sources) - len(todo)} known to be clean, {len(todo) - left} looked at, "
          f"{failed} with findings" + (f", {left} left for a later run" if left else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
