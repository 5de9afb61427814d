#!/usr/bin/env python3
"""Carronade beside llama.cpp: same machine, file, threads and prompt lengths, interleaved in one run; writes docs/benchmarks.md's table.

usage: compare.py [--rounds N] [--models a,b] [--batches 1,4,8] [--threads N] [--dry-run]

Each round runs ours, then llama.cpp as it comes (re-packed weights), then llama.cpp with re-packing off; the better of its two medians is the
one we are held against. The ratio is between medians; minima stand beside them, since a shared machine is noisy.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import llama_cpp

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- table: make bench -->", "<!-- end of table -->"
PROMPT, GENERATE = 512, 64
BATCH_PROMPT = 128


def ours(model: str, prompt: int, generate: int, batch: int, threads: int) -> dict:
    run = subprocess.run([str(BINARY), "bench", model, "--prompt", str(prompt), "--generate", str(generate), "--batch", str(batch),
                          "--threads", str(threads), "--json"], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def model_path(model: str) -> pathlib.Path:
    run = subprocess.run([str(BINARY), "pull", model], check=False)
    if run.returncode:
        sys.exit(f"could not get {model}")
    shown = subprocess.run([str(BINARY), "show", model, "--json"], check=True, capture_output=True, text=True)
    return pathlib.Path(json.loads(shown.stdout)["installed"]["path"])


def measure(model: str, batches: list[int], rounds: int, threads: int) -> list[tuple[str, list[float], dict[str, list[float]]]]:
    """Rows of (what, ours, {setting of llama.cpp: its figures}), all in tokens a second."""
    path = model_path(model)
    rows: dict[str, tuple[list[float], dict[str, list[float]]]] = {}

    def add(what: str, mine: float, theirs: dict[str, float]) -> None:
        row = rows.setdefault(what, ([], {name: [] for name in theirs}))
        row[0].append(mine)
        for name, value in theirs.items():
            row[1][name].append(value)

    for number in range(rounds):
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
        mine = ours(model, PROMPT, GENERATE, 1, threads)
        theirs = {name: llama_cpp.bench(path, PROMPT, GENERATE, threads, repack) for name, repack in
                  (("default", True), ("--no-repack", False))}
        add(f"prefill, {PROMPT} tokens", mine["prefill_tokens_per_second"], {n: t["prefill"] for n, t in theirs.items()})
        add("decode, batch 1", mine["decode_tokens_per_second"], {n: t["decode"] for n, t in theirs.items()})
        for batch in batches:
            if batch == 1:
                continue
            mine = ours(model, BATCH_PROMPT, GENERATE, batch, threads)
            add(f"decode, batch {batch}", mine["decode_tokens_per_second"],
                {name: llama_cpp.batched_decode(path, BATCH_PROMPT, GENERATE, batch, threads, repack) for name, repack in
                 (("default", True), ("--no-repack", False))})
    return [(what, mine, theirs) for what, (mine, theirs) in rows.items()]


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def table(results: dict[str, list], isa: str, threads: int, rounds: int, command: str) -> str:
    lines = [BEGIN, f"{datetime.date.today().isoformat()}, {processor()} ({isa}), {threads} threads, {rounds} interleaved rounds, tokens a second. "
             f"Command: `{command}`.", "",
             "| model | measure | Carronade median (min) | llama.cpp median (min) | its better setting | ratio |",
             "|---|---|---|---|---|---|"]
    for model, rows in results.items():
        for what, mine, theirs in rows:
            best = max(theirs, key=lambda name: statistics.median(theirs[name]))
            ratio = statistics.median(mine) / statistics.median(theirs[best])
            lines.append(f"| {model} | {what} | {statistics.median(mine):.1f} ({min(mine):.1f}) | "
                         f"{statistics.median(theirs[best]):.1f} ({min(theirs[best]):.1f}) | {best} | {ratio:.2f}× |")
    return "\n".join([*lines, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="qwen2.5-coder-1.5b,qwen2.5-coder-0.5b,smollm2-135m")
    parser.add_argument("--batches", default="1,4,8")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dry-run", action="store_true", help="print the table, leave the document")
    options = parser.parse_args()
    batches = [int(b) for b in options.batches.split(",")]
    results = {m: measure(m, batches, options.rounds, options.threads) for m in options.models.split(",")}
    isa = ours("smollm2-135m", 8, 2, 1, 1)["isa"]
    text = table(results, isa, options.threads, options.rounds, "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""))
    print(text)
    if not options.dry_run:
        document = DOCUMENT.read_text()
        head, rest = document.split(BEGIN)
        DOCUMENT.write_text(head + text + rest.split(END)[1])


if __name__ == "__main__":
    main()
