#!/usr/bin/env python3
"""Many clients for many minutes: connect, stream, leave half way, come back, and now and then something hostile; writes docs/benchmarks/soak.md.

usage: soak.py [--clients 64] [--minutes 10] [--model NAME] [--hostile 0.05] [--seed N] [--dry-run]

Ends with 1 and a list when anything is not as it should be: an answer nobody asked for, memory that grows after the first minute, a block that
nobody holds and nobody has back, a processor that does not come to rest, or metrics that differ from what the clients saw.
"""
import argparse
import asyncio
import collections
import dataclasses
import datetime
import json
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from prometheus_client.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
import hostile  # noqa: E402

DOCUMENT = ROOT / "docs/benchmarks/soak.md"
WORDS = ("time year people way day man thing woman life child world school state family student group country problem hand part place case week "
         "company system program question work government number night point home water room mother area money story fact month lot right").split()
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 900  # seconds for an answer, when many wait and the machine has other work


@dataclasses.dataclass
class Ledger:
    """What the clients did and saw."""
    completed: int = 0
    left: int = 0  # while their answer was being written, which they know since it had begun
    left_early: int = 0  # before anything came: the server may not even have read their request
    prompt_tokens: int = 0
    completion_tokens: int = 0
    hostile: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)
    first_token: list[float] = dataclasses.field(default_factory=list)

    def problem(self, text: str) -> None:
        self.problems.append(text)


class Process:
    """The server and what the system says of it."""

    def __init__(self, command: list[str], log: pathlib.Path) -> None:
        self.log = log
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log.open("w"))
        self.folder = pathlib.Path(f"/proc/{self.process.pid}")

    def resident(self) -> int:
        return int((self.folder / "statm").read_text().split()[1]) * PAGE

    def cpu_seconds(self) -> float:
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def open_files(self) -> int:
        return len(list((self.folder / "fd").iterdir()))


async def fetch(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def metrics(port: int) -> dict[str, float]:
    """Name and labels → value."""
    status, body = await fetch(port, "/metrics")
    assert status == 200, status
    return {s.name + ":" + s.labels.get("finished_reason", "") if s.name == "vllm:request_success_total" else s.name: s.value
            for family in text_string_to_metric_families(body.decode()) for s in family.samples if not s.name.endswith("_bucket")}


class Client:
    """One person: a conversation that goes on, now and then a new one."""

    def __init__(self, port: int, seed: int, ledger: Ledger, hostile_share: float) -> None:
        self.port, self.ledger, self.hostile_share = port, ledger, hostile_share
        self.rng = random.Random(seed)
        self.messages: list[dict] = []

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                await self.act()
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError, KeyError, AssertionError) as error:
                self.ledger.problem(f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(self.rng.expovariate(4))

    async def act(self) -> None:
        if self.rng.random() < self.hostile_share:
            return await self.annoy()
        if len(self.messages) > 6 or self.rng.random() < 0.3:
            self.messages = []
        words = self.rng.choice([5, 20, 80, 300])
        self.messages.append({"role": "user", "content": " ".join(self.rng.choices(WORDS, k=words))})
        way = self.rng.random()
        if way < 0.6:
            await self.ask(stream=True)
        elif way < 0.7:
            await self.ask(stream=False)
        elif way < 0.93:
            await self.leave(after=self.rng.randrange(1, 30))
        elif way < 0.96:
            await self.leave_early()
        elif way < 0.98:
            await self.half_close()
        else:
            await self.leave_unread()

    async def annoy(self) -> None:
        kind = self.rng.choice(list(hostile.KINDS))
        status = await kind(self.port, self.rng)
        self.ledger.hostile[kind.__name__] += 1
        if status not in hostile.KINDS[kind]:
            self.ledger.problem(f"{kind.__name__} was answered with {status}")

    async def send(self, **fields):
        body = json.dumps({"messages": self.messages, "temperature": 0.9, "seed": self.rng.randrange(2**31), **fields}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(hostile.post(body))
        await writer.drain()
        return reader, writer

    async def ask(self, stream: bool) -> None:
        fields = {"max_tokens": self.rng.randrange(1, 65)}
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        sent = time.monotonic()
        reader, writer = await self.send(**fields)
        try:
            text, usage = await asyncio.wait_for(read_stream(reader, sent, self.ledger) if stream else read_whole(reader), PATIENCE)
        finally:
            writer.close()
        self.messages.append({"role": "assistant", "content": text})
        self.ledger.completed += 1
        self.ledger.prompt_tokens += usage["prompt_tokens"]
        self.ledger.completion_tokens += usage["completion_tokens"]

    # Those below ask for so much that the answer cannot have ended before they left.
    async def leave(self, after: int) -> None:
        reader, writer = await self.send(stream=True, max_tokens=1000, ignore_eos=True)
        try:
            await asyncio.wait_for(read_status(reader), PATIENCE)
            for _ in range(after):
                await asyncio.wait_for(reader.readline(), PATIENCE)
        finally:
            writer.close()
        self.ledger.left += 1
        self.messages.pop()

    async def leave_early(self) -> None:
        _, writer = await self.send(max_tokens=1000, ignore_eos=True)
        await asyncio.sleep(self.rng.random())
        writer.transport.abort()
        self.ledger.left_early += 1
        self.messages.pop()

    async def half_close(self) -> None:
        """To have closed one side is to have left: no proxy keeps such a connection either."""
        reader, writer = await self.send(max_tokens=1000, ignore_eos=True)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        assert not answer, f"a client that had closed was answered with {answer[:60]!r}"
        self.ledger.left_early += 1
        self.messages.pop()

    async def leave_unread(self) -> None:
        reader, writer = await self.send(stream=True, max_tokens=1000, ignore_eos=True)
        await asyncio.wait_for(read_status(reader), PATIENCE)
        await asyncio.sleep(self.rng.random())
        writer.transport.abort()
        self.ledger.left += 1
        self.messages.pop()


async def read_status(reader: asyncio.StreamReader) -> None:
    line = await reader.readline()
    assert line.startswith(b"HTTP/1.1 200 "), f"an ordinary request was answered with {line!r}"


async def read_whole(reader: asyncio.StreamReader) -> tuple[str, dict]:
    await read_status(reader)
    length = 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    body = json.loads(await reader.readexactly(length))
    return body["choices"][0]["message"]["content"] or "", body["usage"]


async def read_stream(reader: asyncio.StreamReader, sent: float, ledger: Ledger) -> tuple[str, dict]:
    await read_status(reader)
    text, usage, reason = "", None, None
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        if line == b"data: [DONE]\n":
            assert usage and reason in ("stop", "length"), f"a stream ended with {reason}, usage {usage}"
            return text, usage
        chunk = json.loads(line[6:])
        assert "error" not in chunk, chunk
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            if choice["delta"].get("content"):
                if not text:
                    ledger.first_token.append(time.monotonic() - sent)
                text += choice["delta"]["content"]
    raise AssertionError("a stream broke off")


@dataclasses.dataclass
class Watch:
    """The server over time, as an operator's tools would see it."""
    times: list[float] = dataclasses.field(default_factory=list)
    resident: list[int] = dataclasses.field(default_factory=list)
    touched: list[float] = dataclasses.field(default_factory=list)  # of that, KV blocks
    most_files: int = 0
    most_running: int = 0
    most_waiting: int = 0
    health: list[float] = dataclasses.field(default_factory=list)

    async def run(self, process: Process, port: int, ledger: Ledger, started: float) -> None:
        last: dict[str, float] = {}
        while True:
            self.most_files = max(self.most_files, process.open_files())
            asked = time.monotonic()
            self.times.append(asked - started)
            status, _ = await fetch(port, "/health")
            self.health.append(time.monotonic() - asked)
            self.resident.append(process.resident())
            now = await metrics(port)
            self.touched.append(now["carronade:kv_cache_touched_bytes"])
            if status != 200:
                ledger.problem(f"/health was {status}")
            for name, value in last.items():
                if name.endswith(("_total", "_count")) and now[name] < value:
                    ledger.problem(f"{name} fell from {value} to {now[name]}")
            last = now
            state = json.loads((await fetch(port, "/debug/scheduler"))[1])
            self.most_running = max(self.most_running, len(state["running"]))
            self.most_waiting = max(self.most_waiting, len(state["waiting"]))
            if not state["pool"]["balanced"]:
                ledger.problem("the books of the KV cache do not balance")
            await asyncio.sleep(1)

    def growth(self, settle: float) -> float:
        """Bytes that memory grew by from `settle` seconds on, by the straight line through what was measured. The KV cache is not in it: it is as
        large as the most that was ever needed at once, and can never be larger than was said at start."""
        points = [(t, r - kv) for t, r, kv in zip(self.times, self.resident, self.touched) if t >= settle]
        if len(points) < 3:
            return 0.0
        line = statistics.linear_regression([p[0] for p in points], [p[1] for p in points])
        return line.slope * (points[-1][0] - points[0][0])


def check_metrics(before: dict[str, float], after: dict[str, float], ledger: Ledger) -> None:
    def grown(name: str) -> float:
        return after["vllm:" + name] - before["vllm:" + name]

    def same(what: str, mine: float, theirs: float) -> None:
        if mine != theirs:
            ledger.problem(f"{what}: the clients saw {mine}, /metrics says {theirs}")

    same("answers that ended", ledger.completed, grown("request_success_total:stop") + grown("request_success_total:length"))
    same("answers that failed", 0, grown("request_success_total:error"))
    same("prompt tokens of answers", ledger.prompt_tokens, grown("request_prompt_tokens_sum"))
    same("tokens of answers", ledger.completion_tokens, grown("request_generation_tokens_sum"))
    aborted = grown("request_success_total:abort")
    if not ledger.left <= aborted <= ledger.left + ledger.left_early:
        ledger.problem(f"{ledger.left} to {ledger.left + ledger.left_early} clients left, /metrics says {aborted}")
    if grown("generation_tokens_total") < ledger.completion_tokens:
        ledger.problem("generation_tokens_total is less than the clients got")


async def check_rest(process: Process, port: int, ledger: Ledger) -> tuple[float, dict]:
    """One second after the last has left: nothing runs, nothing is held, the processor rests."""
    await asyncio.sleep(1)
    cpu, moment = process.cpu_seconds(), time.monotonic()
    await asyncio.sleep(2)
    share = (process.cpu_seconds() - cpu) / (time.monotonic() - moment)
    if share >= 0.01:
        ledger.problem(f"{share:.1%} of a core one second after the last client left")
    state = json.loads((await fetch(port, "/debug/scheduler"))[1])
    pool = state["pool"]
    if state["running"] or state["waiting"]:
        ledger.problem(f"{len(state['running'])} run and {len(state['waiting'])} wait after the last client left")
    if pool["used"] != 0 or pool["cached"] + pool["free"] != pool["total"] or not pool["balanced"]:
        ledger.problem(f"the blocks of the KV cache: {pool}")
    if (load := json.loads((await fetch(port, "/load"))[1])["server_load"]) != 0:
        ledger.problem(f"/load says {load} after the last client left")
    return share, state


async def soak(process: Process, port: int, options, ledger: Ledger) -> dict:
    started = time.monotonic()
    before = await metrics(port)
    watch = Watch()
    watching = asyncio.create_task(watch.run(process, port, ledger, started))
    until = started + options.minutes * 60
    await asyncio.gather(*(Client(port, options.seed * 1000 + i, ledger, options.hostile).run(until) for i in range(options.clients)))
    watching.cancel()
    try:
        await watching
    except asyncio.CancelledError:
        pass
    share, state = await check_rest(process, port, ledger)
    after = await metrics(port)
    check_metrics(before, after, ledger)
    settle = min(60.0, options.minutes * 60 / 3)
    growth, first = watch.growth(settle), max(i for i, t in enumerate(watch.times) if t <= settle)
    settled_kv = watch.touched[first]
    settled = watch.resident[first] - settled_kv
    if growth > options.growth * settled:
        ledger.problem(f"memory grew by {growth / 1e6:.1f} MB after the first {settle:.0f} s, when it was {settled / 1e6:.1f} MB")
    return {"watch": watch, "share": share, "state": state, "before": before, "after": after, "growth": growth, "settled": settled,
            "settled_kv": settled_kv,
            "seconds": time.monotonic() - started}


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def table(result: dict, ledger: Ledger, options) -> list[tuple[str, str]]:
    watch: Watch = result["watch"]
    grown = lambda name: result["after"]["vllm:" + name] - result["before"]["vllm:" + name]  # noqa: E731
    return [
        ("clients, minutes", f"{options.clients}, {options.minutes:g}"),
        ("answers read to their end", f"{ledger.completed:,}"),
        ("answers left half way, before their first byte", f"{ledger.left:,}, {ledger.left_early:,}"),
        ("hostile requests, of so many kinds", f"{sum(ledger.hostile.values()):,}, {len(ledger.hostile)}"),
        ("prompt tokens, found in the cache", f"{grown('prefix_cache_queries_total'):,.0f}, {grown('prefix_cache_hits_total'):,.0f}"),
        ("answer tokens", f"{grown('generation_tokens_total'):,.0f}"),
        ("preemptions", f"{grown('num_preemptions_total'):,.0f}"),
        ("first token, p50 and p99", f"{percentile(ledger.first_token, 0.5):.2f} s, {percentile(ledger.first_token, 0.99):.2f} s"),
        ("`/health` on a new connection, p50 and p99", f"{percentile(watch.health, 0.5) * 1e3:.1f} ms, {percentile(watch.health, 0.99) * 1e3:.1f} ms"),
        ("most that ran, waited, open files", f"{watch.most_running}, {watch.most_waiting}, {watch.most_files}"),
        ("memory after the first minute, at the end", f"{result['settled'] / 1e6:.1f} MB, {(watch.resident[-1] - watch.touched[-1]) / 1e6:.1f} MB"),
        ("its growth after the first minute, fitted", f"{result['growth'] / 1e6:+.1f} MB"),
        ("and the KV cache, after the first minute, at the end", f"{result['settled_kv'] / 1e6:.1f} MB, {watch.touched[-1] / 1e6:.1f} MB"),
        ("processor from one second after the last left", f"{result['share']:.2%} of a core"),
        ("blocks used, cached, free after it", "{used}, {cached}, {free}".format(**result["state"]["pool"])),
        ("errors that nobody asked for", f"{len(ledger.problems)}"),
    ]


def write_document(rows: list[tuple[str, str]], options) -> None:
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = ["# Soak", "",
             f"{datetime.date.today()}, {cpu.group(1) if cpu else 'unknown'}, {os.cpu_count()} cores, shared with the clients. Every client goes on "
             "until the time is over: 60 % of its requests",
             "are streams read to their end, 10 % answers read whole, 30 % are left (half way, before the first byte, or unread); a conversation goes on "
             "for a few turns.",
             f"{options.hostile:.0%} of what it sends is hostile ([the kinds](../../bench/soak/hostile.py)).", "",
             f"    {options.command}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), "",
             "The program fails unless every answer is the one expected, the clients' sums of answers, prompt tokens and answer tokens equal those of "
             "`/metrics`, the", "books of the KV cache balance all along, nothing is held at the end, memory is flat and the processor rests.", ""]
    DOCUMENT.write_text("\n".join(lines))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def wait_until_ready(process: Process, port: int) -> None:
    while process.process.poll() is None:
        try:
            if (await fetch(port, "/health"))[0] == 200:
                return
        except (OSError, IndexError):
            pass
        await asyncio.sleep(0.1)
    sys.exit(f"the server did not come up:\n{process.log.read_text()}")


def check_log(text: str, ledger: Ledger) -> None:
    for line in text.splitlines():
        if re.match(r"\S+ \S+ (error|critical) ", line):
            ledger.problem("in the log: " + line[:300])


def run(options) -> tuple[Ledger, list[tuple[str, str]]]:
    ledger = Ledger()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(options.binary), "serve", options.model, "--port", str(port), "--ui-port", "0", "--max-model-len", "2048",
                   "--data-dir", folder, *options.serve]
        process = Process(command, pathlib.Path(folder) / "log")
        try:
            asyncio.run(wait_until_ready(process, port))
            result = asyncio.run(soak(process, port, options, ledger))
        finally:
            process.process.send_signal(signal.SIGTERM)
            try:
                status = process.process.wait(60)
            except subprocess.TimeoutExpired:
                process.process.kill()
                status = None
        if status != 0:
            ledger.problem(f"the server ended with {status}")
        check_log(process.log.read_text(errors="replace"), ledger)
    return ledger, table(result, ledger, options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--hostile", type=float, default=0.05, help="share of requests that are hostile")
    parser.add_argument("--growth", type=float, default=0.02, help="of memory, that counts as flat")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", default=ROOT / "build/release/carronade")
    parser.add_argument("--serve", nargs="*", default=[], help="more flags for the server")
    parser.add_argument("--dry-run", action="store_true", help="print, and leave the document as it is")
    options = parser.parse_args()
    options.command = "python3 bench/soak/soak.py" + "".join(" " + a for a in sys.argv[1:] if a != "--dry-run")
    ledger, rows = run(options)
    for name, value in rows:
        print(f"{name:50} {value}")
    print("hostile:", dict(ledger.hostile))
    counted = collections.Counter(ledger.problems)
    for problem, count in counted.most_common(30):
        print(f"PROBLEM ({count}×): {problem}")
    if not options.dry_run and not ledger.problems:
        write_document(rows, options)
    return 1 if ledger.problems else 0


if __name__ == "__main__":
    sys.exit(main())
