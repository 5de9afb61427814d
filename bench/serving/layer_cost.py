#!/usr/bin/env python3
"""What the server costs around the engine; writes docs/benchmarks/serving_layer.md.

usage: layer_cost.py [--model NAME] [--streams 32] [--seconds 30] [--idle 2000] [--dry-run]

Three figures, each with its goal: the processor time of the server's own threads while so many streams run, how long /health takes meanwhile, and
the memory of idle keep-alive connections.
"""
import argparse
import asyncio
import collections
import datetime
import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
from serving import WORDS, exchange, free_port, percentile  # noqa: E402

BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks/serving_layer.md"
PAGE = os.sysconf("SC_PAGE_SIZE")


def thread_seconds(pid: int) -> collections.Counter:
    """Processor time by thread name, to the nanosecond (schedstat)."""
    seconds: collections.Counter = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        seconds[(task / "comm").read_text().strip()] += int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


async def stream(port: int, seed: int, until: float, tokens: list[int]) -> None:
    rng = random.Random(seed)
    while time.monotonic() < until:
        body = {"messages": [{"role": "user", "content": " ".join(rng.choices(WORDS, k=50))}], "max_tokens": 256, "temperature": 0.8,
                "ignore_eos": True, "stream": True}
        async for _, line in exchange(port, "/v1/chat/completions", body):
            tokens[0] += line.startswith(b"data: {")
            if time.monotonic() >= until:
                return


async def probe_health(port: int, until: float, times: list[float], new_connection: bool) -> None:
    request = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    reader = writer = None
    while time.monotonic() < until:
        begin = time.monotonic()
        if writer is None or new_connection:
            if writer:
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        times.append(time.monotonic() - begin)
        assert head.startswith(b"HTTP/1.1 200 "), head
        await asyncio.sleep(0.02)
    writer.close()


def health_from_outside(port: int, seconds: float) -> tuple[list[float], list[float]]:
    """In a process of its own, as a load balancer is: reading the streams must not be in its way."""
    kept, new = [], []

    async def both() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(probe_health(port, until, kept, False), probe_health(port, until, new, True))

    asyncio.run(both())
    return kept, new


async def under_load(pid: int, port: int, options) -> dict:
    until = time.monotonic() + 2 * options.seconds + 6
    tokens = [0]
    streams = [asyncio.create_task(stream(port, i, until, tokens)) for i in range(options.streams)]
    await asyncio.sleep(5)  # until prompts are read and everyone writes
    before, count, begin = thread_seconds(pid), tokens[0], time.monotonic()
    await asyncio.sleep(options.seconds)
    elapsed = time.monotonic() - begin
    used = thread_seconds(pid)
    used.subtract(before)
    rate = (tokens[0] - count) / elapsed
    prober = await asyncio.create_subprocess_exec(sys.executable, __file__, "--probe", str(port), "--seconds", str(options.seconds - 1),
                                                  stdout=asyncio.subprocess.PIPE)
    output, _ = await prober.communicate()
    await asyncio.gather(*streams)
    kept, new = json.loads(output)
    return {"threads": {name: seconds / elapsed for name, seconds in used.items()}, "rate": rate, "kept": kept, "new": new}


async def idle_connections(pid: int, port: int, count: int) -> tuple[float, float]:
    """Bytes with and without them. Each has been used once."""
    request = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    before = resident(pid)
    connections = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        connections.append(writer)
    await asyncio.sleep(1)
    open_now = len([1 for link in pathlib.Path(f"/proc/{pid}/fd").iterdir() if os.readlink(link).startswith("socket:")])
    assert open_now > count, f"only {open_now} connections are open"
    during = resident(pid)
    for writer in connections:
        writer.close()
    return during - before, before


def write_document(rows: list[tuple[str, str, str, str]], options, threads: dict[str, float], rate: float) -> None:
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = ["# The server around the engine", "",
             f"{datetime.date.today()}, {cpu.group(1) if cpu else 'unknown'}, {os.cpu_count()} cores, shared with the clients; {options.model}.", "",
             f"    {options.command}", "", "| | measured | goal | |", "|---|---|---|---|", *(f"| {a} | {b} | {c} | {d} |" for a, b, c, d in rows), "",
             f"Processor time is that of the threads named `http`, from `/proc/PID/task/*/schedstat`, at {rate:.0f} tokens a second and nothing else asked: {threads['http'] / rate * 1e6:.0f} µs a token. Turning tokens into text "
             "happens on the engine's", "thread and is not in it. All threads, in cores: "
             + ", ".join(f"{name} {share:.3f}" for name, share in sorted(threads.items())) + ".", ""]
    DOCUMENT.write_text("\n".join(lines))


def measure(options) -> int:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([str(options.binary), "serve", options.model, "--port", str(port), "--ui-port", "0", "--max-model-len", "1024",
                                    "--max-num-seqs", str(options.streams), "--data-dir", folder, "--log-level", "warn"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    asyncio.run(wait(port))
                    break
                except (OSError, RuntimeError):
                    time.sleep(0.1)
                    if process.poll() is not None:
                        sys.exit("the server did not come up")
            grown, without = asyncio.run(idle_connections(process.pid, port, options.idle))
            load = asyncio.run(under_load(process.pid, port, options))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    share = load["threads"]["http"]
    p99s = {kind: percentile(load[kind], 0.99) for kind in ("kept", "new")}
    rows = [
        (f"server's threads at {options.streams} streams", f"{share:.2%} of a core", "< 5 %", "✓" if share < 0.05 else "✗"),
        ("`/health` meanwhile, kept connection: p50, p99, worst",
         f"{percentile(load['kept'], 0.5) * 1e3:.1f}, {p99s['kept'] * 1e3:.1f}, {max(load['kept']) * 1e3:.1f} ms ({len(load['kept'])} times)",
         "p99 < 50 ms", "✓" if p99s["kept"] < 0.05 else "✗"),
        ("`/health` meanwhile, new connection each: p50, p99, worst",
         f"{percentile(load['new'], 0.5) * 1e3:.1f}, {p99s['new'] * 1e3:.1f}, {max(load['new']) * 1e3:.1f} ms ({len(load['new'])} times)",
         "p99 < 50 ms", "✓" if p99s["new"] < 0.05 else "✗"),
        (f"{options.idle:,} idle kept connections", f"{grown / 1e6:.1f} MB, {grown / options.idle / 1e3:.1f} kB each", "< 100 MB",
         "✓" if grown < 100e6 else "✗"),
    ]
    for row in rows:
        print(" | ".join(row))
    print({name: round(share, 4) for name, share in load["threads"].items()}, f"{load['rate']:.0f} tokens/s, {share / load['rate'] * 1e6:.0f} µs a token, {without / 1e6:.0f} MB before")
    if not options.dry_run:
        write_document(rows, options, load["threads"], load["rate"])
    return 0 if all(row[3] == "✓" for row in rows) else 1


async def wait(port: int) -> None:
    async for _ in exchange(port, "/health", None):
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--binary", default=BINARY)
    parser.add_argument("--dry-run", action="store_true", help="print, and leave the document as it is")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)  # this program's own prober, on that port
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(health_from_outside(options.probe, options.seconds)))
        return 0
    options.command = "python3 bench/serving/layer_cost.py" + "".join(" " + a for a in sys.argv[1:] if a != "--dry-run")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
