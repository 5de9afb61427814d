#!/usr/bin/env python3
"""Carronade beside llama.cpp: same machine, file, threads and prompt lengths, interleaved in one run; writes docs/benchmarks.md's table and
the plot over batch sizes.

usage: compare.py [--rounds N] [--models a,b] [--batches 1,4,8] [--long TOKENS] [--threads N] [--plot] [--dry-run]

Each round runs ours, then llama.cpp as it comes (re-packed weights), then llama.cpp with re-packing off; the better of its two medians is the
one we are held against. The ratio is between medians; minima stand beside them, since a shared machine is noisy. Before and after each
measure the speed of reading memory is measured too: for answers to one, the table says how much of it the weights alone took.
"""
import argparse
import dataclasses
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
sys.path.insert(0, str(ROOT / "bench" / "serving"))
import plot  # noqa: E402

BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks/batches.svg"
BEGIN, END = "<!-- table: make bench -->", "<!-- end of table -->"
PROMPT, GENERATE = 512, 64
BATCH_PROMPT = 128
SETTINGS = {"default": True, "--no-repack": False}


@dataclasses.dataclass
class Row:
    """A measure's figures, all in tokens a second."""

    batch: int  # of sequences that decode together; 0: reading a prompt
    per_token: float = 0.0  # bytes of weights, where a token reads them all
    ours: list[float] = dataclasses.field(default_factory=list)
    theirs: dict[str, list[float]] = dataclasses.field(default_factory=lambda: {name: [] for name in SETTINGS})
    bandwidth: list[float] = dataclasses.field(default_factory=list)  # bytes a second, around each measure

    def best(self) -> str:
        return max(self.theirs, key=lambda name: statistics.median(self.theirs[name]))

    def share(self) -> str:
        """What of the bandwidth around it the weights took: the median over the rounds."""
        if not self.per_token:
            return ""
        around = [(before + after) / 2 for before, after in zip(self.bandwidth[::2], self.bandwidth[1::2])]
        return f"{statistics.median(speed * self.per_token / width for speed, width in zip(self.ours, around)):.0%}"


def read_json(*arguments: str) -> dict:
    return json.loads(subprocess.run([str(BINARY), *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


def ours(model: str, prompt: int, generate: int, batch: int, threads: int) -> dict:
    return read_json("bench", model, "--prompt", str(prompt), "--generate", str(generate), "--batch", str(batch), "--threads", str(threads))


def bandwidth() -> float:
    return read_json("doctor")["memory"]["bandwidth"]


def measure(model: str, batches: list[int], long: int, rounds: int, threads: int) -> dict[str, Row]:
    if subprocess.run([str(BINARY), "pull", model], check=False).returncode:
        sys.exit(f"could not get {model}")
    shown = read_json("show", model)
    path, per_step = pathlib.Path(shown["installed"]["path"]), shown["checkpoint"]["memory"]["per_step"]
    rows: dict[str, Row] = {}

    def take(row: Row, mine: float, before: float) -> None:
        row.ours.append(mine)
        row.bandwidth += [before, bandwidth()]

    def read_and_write(prompt: int, read: Row, write: Row) -> None:
        before = bandwidth()
        mine = ours(model, prompt, GENERATE, 1, threads)
        take(read, mine["prefill_tokens_per_second"], before)
        take(write, mine["decode_tokens_per_second"], before)
        for name, repack in SETTINGS.items():
            peer = llama_cpp.bench(path, prompt, GENERATE, threads, repack, depth=0 if prompt == PROMPT else prompt)
            read.theirs[name].append(peer["prefill"])
            write.theirs[name].append(peer["decode"])

    for number in range(rounds):
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
        read_and_write(PROMPT, rows.setdefault(f"prefill, {PROMPT} tokens", Row(0)), rows.setdefault("decode, batch 1", Row(1, per_step)))
        if long:
            read_and_write(long, rows.setdefault(f"prefill, {long} tokens", Row(0)),
                           rows.setdefault(f"decode after {long} tokens", Row(1, per_step)))
        for batch in batches:
            if batch == 1:
                continue
            row = rows.setdefault(f"decode, batch {batch}", Row(batch))
            before = bandwidth()
            take(row, ours(model, BATCH_PROMPT, GENERATE, batch, threads)["decode_tokens_per_second"], before)
            for name, repack in SETTINGS.items():
                row.theirs[name].append(llama_cpp.batched_decode(path, BATCH_PROMPT, GENERATE, batch, threads, repack))
    return rows


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def table(results: dict[str, dict[str, Row]], isa: str, threads: int, rounds: int, command: str) -> str:
    widths = [width for rows in results.values() for row in rows.values() for width in row.bandwidth]
    lines = [BEGIN, f"{datetime.date.today().isoformat()}, {processor()} ({isa}), {threads} threads, {rounds} interleaved rounds, tokens a second. "
             f"Memory was read at {min(widths) / 1e9:.0f} to {max(widths) / 1e9:.0f} GB/s around the measures, {statistics.median(widths) / 1e9:.0f} "
             f"at the median. Command: `{command}`.", "",
             "| model | measure | Carronade median (min) | llama.cpp median (min) | its better setting | ratio | of the bandwidth |",
             "|---|---|---|---|---|---|---|"]
    for model, rows in results.items():
        for what, row in rows.items():
            best = row.best()
            ratio = statistics.median(row.ours) / statistics.median(row.theirs[best])
            lines.append(f"| {model} | {what} | {statistics.median(row.ours):.1f} ({min(row.ours):.1f}) | "
                         f"{statistics.median(row.theirs[best]):.1f} ({min(row.theirs[best]):.1f}) | {best} | {ratio:.2f}× | {row.share()} |")
    return "\n".join([*lines, END])


def batch_plot(rows: dict[str, Row]) -> str:
    decodes = {row.batch: row for what, row in rows.items() if what.startswith("decode, batch")}
    series = {"Carronade": [(batch, statistics.median(row.ours)) for batch, row in decodes.items()]}
    for name in SETTINGS:
        series["llama.cpp" + ("" if name == "default" else " " + name)] = [(b, statistics.median(r.theirs[name])) for b, r in decodes.items()]
    return plot.lines(series, "sequences that decode together", "tokens a second, all together")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="qwen2.5-coder-1.5b,qwen2.5-coder-0.5b,smollm2-135m")
    parser.add_argument("--batches", default="1,4,8")
    parser.add_argument("--long", type=int, default=0, metavar="TOKENS", help="also a prompt of so many tokens, and decoding after it")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--plot", action="store_true", help=f"draw the first model's decoding by batch into {PLOT.relative_to(ROOT)}")
    parser.add_argument("--dry-run", action="store_true", help="print the table, leave the documents")
    options = parser.parse_args()
    batches = [int(b) for b in options.batches.split(",")]
    results = {m: measure(m, batches, options.long, options.rounds, options.threads) for m in options.models.split(",")}
    isa = ours("smollm2-135m", 8, 2, 1, 1)["isa"]
    text = table(results, isa, options.threads, options.rounds, "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""))
    print(text)
    if options.dry_run:
        return
    document = DOCUMENT.read_text()
    head, rest = document.split(BEGIN)
    DOCUMENT.write_text(head + text + rest.split(END)[1])
    if options.plot:
        PLOT.write_text(batch_plot(next(iter(results.values()))))


if __name__ == "__main__":
    main()
