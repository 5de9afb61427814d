#!/usr/bin/env python3
"""Carronade beside llama.cpp: same machine, file, threads and prompt lengths, interleaved in one run; writes docs/benchmarks.md's table and
the plot over batch sizes.

usage: compare.py [--rounds N] [--models a,b] [--batches 1,4,8] [--long TOKENS] [--threads N] [--resume] [--plot] [--dry-run]

Each round runs ours, then llama.cpp as it comes (re-packed weights), then llama.cpp with re-packing off; the better of its two medians is the
one we are held against. Both read a prompt of the same length before the answers to one that are measured. Every figure goes into a file at
once; --resume adds rounds to what is there, whatever earlier runs measured (with --rounds 0 none). A ratio is given of the medians,
and of each side's best round, since a shared machine is noisy and noise only ever slows. Before and after each measure the speed of reading
memory is measured too: for answers to one, the table says how much of it the weights alone took.
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
from collections.abc import Iterator

import llama_cpp

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
import plot  # noqa: E402

BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks/batches.svg"
RESULTS = ROOT / "build/bench/compare.jsonl"
BEGIN, END = "<!-- table: make bench -->", "<!-- end of table -->"
PROMPT, GENERATE = 512, 64
BATCH_PROMPT = 128
SETTINGS = {"default": True, "--no-repack": False}


@dataclasses.dataclass
class Figure:
    """One round of one measure, in tokens a second: a line of the results' file."""

    model: str
    what: str
    batch: int  # of sequences that decode together; 0: reading a prompt
    per_token: float  # bytes of weights, where a token reads them all
    ours: float
    theirs: dict[str, float]  # by setting
    before: float  # bytes a second read from memory, before ours
    after: float


@dataclasses.dataclass
class Row:
    """A measure's figures of all rounds."""

    figures: list[Figure]

    def ours(self) -> list[float]:
        return [figure.ours for figure in self.figures]

    def theirs(self, name: str) -> list[float]:
        return [figure.theirs[name] for figure in self.figures]

    def best(self) -> str:
        return max(SETTINGS, key=lambda name: statistics.median(self.theirs(name)))

    def share(self) -> str:
        """What of the bandwidth around it the weights took: the median over the rounds."""
        if not self.figures[0].per_token:
            return ""
        return f"{statistics.median(f.ours * f.per_token * 2 / (f.before + f.after) for f in self.figures):.0%}"


def rows_of(figures: list[Figure]) -> dict[str, dict[str, Row]]:
    results: dict[str, dict[str, Row]] = {}
    for figure in sorted(figures, key=lambda f: f.batch if "batch" in f.what else 0):
        results.setdefault(figure.model, {}).setdefault(figure.what, Row([])).figures.append(figure)
    return results


def read_json(*arguments: str) -> dict:
    return json.loads(subprocess.run([str(BINARY), *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


def ours(model: str, prompt: int, generate: int, batch: int, threads: int) -> dict:
    return read_json("bench", model, "--prompt", str(prompt), "--generate", str(generate), "--batch", str(batch), "--threads", str(threads))


def bandwidth() -> float:
    return read_json("doctor")["memory"]["bandwidth"]


def measure(model: str, batches: list[int], long: int, rounds: int, threads: int) -> Iterator[Figure]:
    if not pathlib.Path(model).exists() and subprocess.run([str(BINARY), "pull", model], check=False).returncode:
        sys.exit(f"could not get {model}")
    shown = read_json("show", model)
    path = pathlib.Path(shown["installed"]["path"] if "installed" in shown else model)
    per_step = shown["checkpoint"]["memory"]["per_step"]
    name = pathlib.Path(model).stem if pathlib.Path(model).exists() else model

    def read_and_write(prompt: int) -> Iterator[Figure]:
        before = bandwidth()
        mine = ours(model, prompt, GENERATE, 1, threads)
        after = bandwidth()
        peer = {setting: llama_cpp.bench(path, prompt, GENERATE, threads, repack) for setting, repack in SETTINGS.items()}
        yield Figure(name, f"prefill, {prompt} tokens", 0, 0.0, mine["prefill_tokens_per_second"],
                     {setting: both["prefill"] for setting, both in peer.items()}, before, after)
        yield Figure(name, f"decode after {prompt} tokens", 1, per_step, mine["decode_tokens_per_second"],
                     {setting: both["decode"] for setting, both in peer.items()}, before, after)

    for number in range(rounds):
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
        if 1 in batches:
            yield from read_and_write(PROMPT)
        if long:
            yield from read_and_write(long)
        for batch in batches:
            before = bandwidth()
            answer = GENERATE if batch < 16 else GENERATE // 2
            mine = ours(model, BATCH_PROMPT, answer, batch, threads)["decode_tokens_per_second"]
            after = bandwidth()
            peer = {setting: llama_cpp.batched_decode(path, BATCH_PROMPT, answer, batch, threads, repack) for setting, repack in SETTINGS.items()}
            yield Figure(name, f"decode, batch {batch}", batch, per_step if batch == 1 else 0.0, mine, peer, before, after)


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(results: dict[str, dict[str, Row]], isa: str, threads: int, command: str) -> str:
    widths = [width for rows in results.values() for row in rows.values() for f in row.figures for width in (f.before, f.after)]
    lines = [BEGIN, f"{datetime.date.today().isoformat()}, {processor()} ({isa}), {threads} threads, interleaved rounds, tokens a second. "
             f"Memory was read at {min(widths) / 1e9:.0f} to {max(widths) / 1e9:.0f} GB/s around the measures, {statistics.median(widths) / 1e9:.0f} "
             f"at the median. Command: `{command}`.", "",
             "| model | measure | rounds | Carronade median (range) | llama.cpp median (range) | its better setting | ratio of medians | of best rounds | of the bandwidth |",
             "|---|---|---|---|---|---|---|---|---|"]
    for model, rows in results.items():
        for what, row in rows.items():
            best = row.best()
            mine, peer = row.ours(), row.theirs(best)
            lines.append(f"| {model} | {what} | {len(mine)} | {spread(mine)} | {spread(peer)} | {best} | "
                         f"{statistics.median(mine) / statistics.median(peer):.2f}× | {max(mine) / max(peer):.2f}× | {row.share()} |")
    return "\n".join([*lines, END])


def batch_plot(rows: dict[str, Row]) -> str:
    decodes = {row.figures[0].batch: row for what, row in rows.items() if what.startswith("decode, batch")}
    series = {"Carronade": [(batch, statistics.median(row.ours())) for batch, row in decodes.items()]}
    for name in SETTINGS:
        label = "llama.cpp" + ("" if name == "default" else " " + name)
        series[label] = [(batch, statistics.median(row.theirs(name))) for batch, row in decodes.items()]
    return plot.lines(series, "sequences that decode together", "tokens a second, all together")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="qwen2.5-coder-1.5b,qwen2.5-coder-0.5b,smollm2-135m")
    parser.add_argument("--batches", default="1,4,8", help="0: none")
    parser.add_argument("--long", type=int, default=0, metavar="TOKENS", help="also a prompt of so many tokens, and decoding after it")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--resume", action="store_true", help=f"keep what earlier runs left in {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--plot", action="store_true", help=f"draw the first model's decoding by batch into {PLOT.relative_to(ROOT)}")
    parser.add_argument("--dry-run", action="store_true", help="print the table, leave the documents")
    options = parser.parse_args()
    batches = [int(b) for b in options.batches.split(",") if int(b)]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        RESULTS.unlink(missing_ok=True)
    for model in options.models.split(","):
        for figure in measure(model, batches, options.long, options.rounds, options.threads):
            with RESULTS.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(figure)) + "\n")
    results = rows_of([Figure(**json.loads(line)) for line in RESULTS.read_text().splitlines()])
    isa = ours("smollm2-135m", 8, 2, 1, 1)["isa"]
    command = "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] and not options.resume else "")
    text = table(results, isa, options.threads, command + ("`, rounds of several runs with `--resume" if options.resume else ""))
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
