#!/usr/bin/env python3
"""Carronade beside llama.cpp: same machine, file, threads and prompt lengths, interleaved in one run; writes docs/benchmarks.md's table and
the plot over batch sizes.

usage: compare.py [--quick] [--rounds N] [--models a,b] [--batches 1,4,8] [--long TOKENS] [--threads N] [--resume] [--dry-run] [--plot FILE]

Each round runs ours, llama.cpp as it comes (re-packed weights) and llama.cpp with re-packing off, another one first each time; the better of
llama.cpp's two medians is the one we are held against. Both read a prompt of the same length before the answers to one that are measured.
Every figure goes into a file at once, with where and when it was taken; --resume adds rounds to what is there, whatever earlier runs measured
(with --rounds 0 none), and without it the old file is put aside. The table takes the figures of this processor, instruction set and number of
threads. A ratio is given of the medians, and of each side's best round, since a shared machine is noisy and noise only ever slows. Around
each run the speed of reading memory is measured too: for answers to one, the table says how much of it the weights alone took.

All of it takes about two hours on two cores, five rounds of 25 minutes; --quick ten minutes; building llama.cpp, once, another eight.
"""
import argparse
import dataclasses
import datetime
import functools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import llama_cpp

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
import plot  # noqa: E402

BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks/batches.svg"
RESULTS = ROOT / "build/bench/compare.jsonl"
PEERS = ROOT / "build/bench/peers.jsonl"  # medians that torch_peer.py and vllm_peer.py left
BEGIN, END = "<!-- table: make bench -->", "<!-- end of table -->"
PICTURE = f"\n\n![Tokens a second over sequences that decode together]({PLOT.relative_to(DOCUMENT.parent)})"
MODELS = ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "smollm2-135m"]
OURS = "Carronade"
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
    # What early lines of the file lack:
    first: float | None = None  # bytes a second, before whichever ran first
    last: float | None = None  # after whichever ran last
    commit: str = ""  # of the tree; with "+" where files differed from it
    isa: str = ""
    threads: int = 0
    processor: str = ""
    date: str = ""

    def widths(self) -> list[float]:
        return [width for width in (self.first, self.before, self.after, self.last) if width]

    def is_of(self, processor: str, isa: str, threads: int) -> bool:
        """Whether it was taken there; what a line does not say is taken as the same."""
        return self.processor in ("", processor) and self.isa in ("", isa) and self.threads in (0, threads)


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
    """By model and measure: the usual models first, then others as they come."""
    results: dict[str, dict[str, Row]] = {}
    for figure in sorted(figures, key=lambda f: f.batch if "batch" in f.what else 0):
        results.setdefault(figure.model, {}).setdefault(figure.what, Row([])).figures.append(figure)
    return {model: results[model] for model in sorted(results, key=lambda name: MODELS.index(name) if name in MODELS else len(MODELS))}


def read_json(*arguments: str) -> dict:
    return json.loads(subprocess.run([str(BINARY), *arguments, "--json"], check=True, capture_output=True, text=True).stdout)


def ours(model: str, prompt: int, generate: int, batch: int, threads: int) -> dict:
    return read_json("bench", model, "--prompt", str(prompt), "--generate", str(generate), "--batch", str(batch), "--threads", str(threads))


def bandwidth() -> float:
    return read_json("doctor")["memory"]["bandwidth"]


@functools.cache
def commit() -> str:
    """What was checked out at first; the documents, which this writes, do not count as a difference."""
    if not (ROOT / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], check=False, capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no", "--", ":!docs") else "")


def in_turn(runs: dict[str, Callable], start: int) -> tuple[dict, dict[str, float]]:
    """Runs all, the one at `start` first. What each gave, and the speeds of memory around ours and around all."""
    names = list(runs)
    names = names[start % len(names):] + names[:start % len(names)]
    results, widths = {}, [bandwidth()]
    for name in names:
        results[name] = runs[name]()
        widths.append(bandwidth())
    mine = names.index(OURS)
    return results, {"before": widths[mine], "after": widths[mine + 1], "first": widths[0], "last": widths[-1]}


def model_path(model: str) -> pathlib.Path:
    """Where a model's file lies; gets it where it is not here."""
    if pathlib.Path(model).exists():
        return pathlib.Path(model)
    if subprocess.run([str(BINARY), "pull", model], check=False, stdout=sys.stderr).returncode:
        sys.exit(f"could not get {model}")
    return pathlib.Path(read_json("show", model)["installed"]["path"])


def measure(model: str, batches: list[int], long: int, rounds: int, threads: int, earlier: list[Figure]) -> Iterator[Figure]:
    """The figures of these rounds; who begins depends on how many `earlier` has of the same measure, to which the caller adds."""
    path = model_path(model)
    per_step = read_json("show", model)["checkpoint"]["memory"]["per_step"]
    name = pathlib.Path(model).stem if pathlib.Path(model).exists() else model

    def taken(what: str) -> int:
        return sum(figure.model == name and figure.what == what for figure in earlier)

    def provenance(mine: dict) -> dict:
        return {"commit": commit(), "isa": mine["isa"], "threads": threads, "processor": processor(), "date": datetime.date.today().isoformat()}

    def peer_runs(run: Callable, *arguments: int) -> dict[str, Callable]:
        return {setting: functools.partial(run, path, *arguments, repack) for setting, repack in SETTINGS.items()}

    def read_and_write(prompt: int) -> Iterator[Figure]:
        runs = {OURS: lambda: ours(model, prompt, GENERATE, 1, threads), **peer_runs(llama_cpp.bench, prompt, GENERATE, threads)}
        results, widths = in_turn(runs, taken(f"prefill, {prompt} tokens"))
        mine = results.pop(OURS)
        yield Figure(name, f"prefill, {prompt} tokens", 0, 0.0, mine["prefill_tokens_per_second"],
                     {setting: both["prefill"] for setting, both in results.items()}, **widths, **provenance(mine))
        yield Figure(name, f"decode after {prompt} tokens", 1, per_step, mine["decode_tokens_per_second"],
                     {setting: both["decode"] for setting, both in results.items()}, **widths, **provenance(mine))

    def decode(batch: int) -> Figure:
        answer = GENERATE if batch < 16 else GENERATE // 2
        runs = {OURS: lambda: ours(model, BATCH_PROMPT, answer, batch, threads),
                **peer_runs(llama_cpp.batched_decode, BATCH_PROMPT, answer, batch, threads)}
        results, widths = in_turn(runs, taken(f"decode, batch {batch}"))
        mine = results.pop(OURS)
        return Figure(name, f"decode, batch {batch}", batch, per_step if batch == 1 else 0.0, mine["decode_tokens_per_second"], results,
                      **widths, **provenance(mine))

    for number in range(rounds):
        print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr)
        if 1 in batches:
            yield from read_and_write(PROMPT)
        if long:
            yield from read_and_write(long)
        for batch in batches:
            yield decode(batch)


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def origin(figures: list[Figure]) -> str:
    """The days and commits that figures are from."""
    days, commits = (sorted({getattr(f, key) for f in figures if getattr(f, key)}) for key in ("date", "commit"))
    if not days:
        return "Of days and commits that were not noted"
    parts = [f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"] if commits else []
    if early := sum(not f.date for f in figures):
        parts.append(f"{early} of {len(figures)} figures are earlier, their commits not noted")
    return " to ".join(dict.fromkeys((days[0], days[-1]))) + (f" ({'; '.join(parts)})" if parts else "")


def table(figures: list[Figure], isa: str, threads: int, command: str) -> str:
    widths = [width for figure in figures for width in figure.widths()]
    lines = [BEGIN, f"{origin(figures)}, {processor()}{f' ({isa})' if isa else ''}, {threads} threads, interleaved rounds, tokens a second. "
             f"Memory was read at {min(widths) / 1e9:.0f} to {max(widths) / 1e9:.0f} GB/s around the measures, {statistics.median(widths) / 1e9:.0f} "
             f"at the median. Command: `{command}`.", "",
             "| model | measure | rounds | Carronade median (range) | llama.cpp median (range) | its better setting | ratio of medians | of best rounds | of the bandwidth |",
             "|---|---|---|---|---|---|---|---|---|"]
    for model, rows in rows_of(figures).items():
        for what, row in rows.items():
            best = row.best()
            mine, peer = row.ours(), row.theirs(best)
            lines.append(f"| {model} | {what} | {len(mine)} | {spread(mine)} | {spread(peer)} | {best} | "
                         f"{statistics.median(mine) / statistics.median(peer):.2f}× | {max(mine) / max(peer):.2f}× | {row.share()} |")
    return "\n".join([*lines, END])


def other_peers(model: str, threads: int) -> dict[str, list[tuple[int, float]]]:
    """By name, the newest median of each batch size, where there are two."""
    speeds: dict[str, dict[int, float]] = {}
    path = str(model_path(model).resolve())
    for line in PEERS.read_text().splitlines() if PEERS.exists() else ():
        each = json.loads(line)
        if each["file"] == path and each["threads"] == threads and each.get("processor") == processor():
            speeds.setdefault(each["peer"], {})[each["batch"]] = each["speed"]
    return {peer: sorted(of.items()) for peer, of in speeds.items() if len(of) > 1}


def batch_plot(model: str, rows: dict[str, Row]) -> str | None:
    """Decoding over batch sizes, where there are three."""
    decodes = {row.figures[0].batch: row for what, row in rows.items() if what.startswith("decode, batch")}
    if len(decodes) < 3:
        return None
    series = {OURS: [(batch, statistics.median(row.ours())) for batch, row in decodes.items()]}
    for name in SETTINGS:
        label = "llama.cpp" + ("" if name == "default" else " " + name)
        series[label] = [(batch, statistics.median(row.theirs(name))) for batch, row in decodes.items()]
    series |= other_peers(model, next(iter(decodes.values())).figures[0].threads)
    return plot.lines(series, f"sequences that decode together ({model})", "tokens a second, all together")


def load() -> list[Figure]:
    return [Figure(**json.loads(line)) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def put_aside() -> None:
    if RESULTS.exists():
        old = RESULTS.with_name(f"{RESULTS.stem}.{datetime.datetime.now():%Y%m%d-%H%M%S}.jsonl")
        RESULTS.rename(old)
        print(f"earlier figures are in {old.relative_to(ROOT)} now; with --resume they would have stayed", file=sys.stderr)


def write(text: str, picture: str | None) -> None:
    """The table and the picture into their document."""
    if picture:
        PLOT.write_text(picture)
    else:
        PLOT.unlink(missing_ok=True)
    head, rest = DOCUMENT.read_text().split(BEGIN)
    rest = rest.split(END)[1].removeprefix(PICTURE)
    DOCUMENT.write_text(head + text + (PICTURE if picture else "") + rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batches", default="1,2,4,8,16,32", help="sequences that decode together; 0: none")
    parser.add_argument("--long", type=int, default=3500, metavar="TOKENS", help="also a prompt of so many tokens, and decoding after it; 0: none")
    parser.add_argument("--quick", action="store_true", help="one round, batches 1,4,8 and no long prompt, where not asked for: ten minutes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--resume", action="store_true", help=f"keep what earlier runs left in {RESULTS.relative_to(ROOT)}, and show it too")
    parser.add_argument("--dry-run", action="store_true", help="print the table, leave the documents")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="the plot goes there as well, with --dry-run too")
    if parser.parse_args().quick:
        parser.set_defaults(rounds=1, batches="1,4,8", long=0)
    options = parser.parse_args()
    batches = [int(b) for b in options.batches.split(",") if int(b)]
    if options.rounds < 1 and not options.resume:
        parser.error("--rounds 0 shows what earlier runs measured: it goes with --resume")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        put_aside()
    figures = load()
    for model in options.models.split(","):
        for figure in measure(model, batches, options.long, options.rounds, options.threads, figures) if options.rounds else ():
            figures.append(figure)
            with RESULTS.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(figure)) + "\n")
    here = [figure for figure in figures if figure.is_of(processor(), figure.isa, options.threads)]
    isa = next((figure.isa for figure in reversed(here) if figure.isa), "")
    shown = [figure for figure in here if figure.is_of(processor(), isa, options.threads)]
    if not shown:
        sys.exit(f"{RESULTS.relative_to(ROOT)} has no figures of {processor()} with {options.threads} threads")
    if len(shown) < len(figures):
        print(f"{len(figures) - len(shown)} figures of other processors, instruction sets or threads are left out", file=sys.stderr)
    command = "make bench" + (f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] and not options.resume else "")
    text = table(shown, isa, options.threads, command + ("`, rounds of several runs with `--resume" if options.resume else ""))
    print(text)
    picture = batch_plot(*next(iter(rows_of(shown).items())))
    if options.plot and picture:
        options.plot.write_text(picture)
    if not options.dry_run:
        write(text, picture)


if __name__ == "__main__":
    main()
