#!/usr/bin/env python3
"""Many clients at once: Carronade beside llama-server, same machine, file, threads and prompts, interleaved; writes docs/benchmarks/serving.md.

usage: serving.py [--model NAME] [--clients 1,2,4,8] [--prompt 256] [--generate 128] [--rounds N] [--dry-run]

A client is a loop: send a prompt that nobody has sent before, read the stream to its end, send the next. Both servers run all the time; only one
is asked at a time. llama-server gets a slot for every client and, like Carronade, all threads.
"""
import argparse
import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "peers"))
import compare  # noqa: E402
import llama_cpp  # noqa: E402

import plot  # noqa: E402

BINARY = ROOT / "build/release/carronade"
DOCUMENT = ROOT / "docs/benchmarks/serving.md"
PICTURE = ROOT / "docs/benchmarks/serving.svg"
WORDS = ("time year people way day man thing woman life child world school state family student group country problem hand part place case week "
         "company system program question work government number night point home water room mother area money story fact month lot right study "
         "book eye job word business issue side kind head house service friend father power hour game line end member law car city").split()


@dataclasses.dataclass
class Answer:
    sent: float
    tokens: list[float]  # times of their coming


@dataclasses.dataclass
class Server:
    name: str
    process: subprocess.Popen
    port: int

    def peak_megabytes(self) -> float:
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
        return 0.0


async def exchange(port: int, path: str, body: dict | None):
    """A request on a connection of its own; yields (time, line) of the answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = json.dumps(body).encode() if body is not None else b""
    method = "POST" if body is not None else "GET"
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
                 f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
    await writer.drain()
    status = (await reader.readline()).decode().split(" ")
    if len(status) < 2 or status[1] != "200":
        raise RuntimeError(f"{path}: {' '.join(status).strip()} {(await reader.read()).decode(errors='replace')[-300:]}")
    while line := await reader.readline():
        yield time.monotonic(), line
    writer.close()


async def ask(port: int, prompt: str, generate: int) -> Answer:
    body = {"model": "bench", "messages": [{"role": "user", "content": prompt}], "max_tokens": generate, "temperature": 0.8, "seed": 1,
            "ignore_eos": True, "stream": True}
    answer = Answer(time.monotonic(), [])
    async for moment, line in exchange(port, "/v1/chat/completions", body):
        if line.startswith(b"data: {") and (choices := json.loads(line[6:]).get("choices")):
            if choices[0]["delta"].get("content") or choices[0]["delta"].get("reasoning_content"):
                answer.tokens.append(moment)
    return answer


async def client(port: int, seed: int, requests: int, prompt: int, generate: int) -> list[Answer]:
    rng = random.Random(seed)
    return [await ask(port, " ".join(rng.choices(WORDS, k=prompt - 30)), generate) for _ in range(requests)]


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def measure(server: Server, clients: int, options, seed: int) -> dict[str, float]:
    requests = max(1, round(options.requests / clients))
    started = time.monotonic()
    lists = await asyncio.gather(*(client(server.port, seed * 1000 + i, requests, options.prompt, options.generate) for i in range(clients)))
    seconds = time.monotonic() - started
    answers = [answer for answers in lists for answer in answers]
    gaps = [b - a for answer in answers for a, b in zip(answer.tokens, answer.tokens[1:])]
    firsts = [answer.tokens[0] - answer.sent for answer in answers if answer.tokens]
    # A chunk may hold half a character or two tokens; what was asked for is what was written.
    return {"tokens_per_second": len(answers) * options.generate / seconds,
            "ttft_p50": percentile(firsts, 0.5), "ttft_p99": percentile(firsts, 0.99),
            "itl_p50": percentile(gaps, 0.5), "itl_p99": percentile(gaps, 0.99)}


def free_port() -> int:
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def wait_until_ready(server: Server) -> None:
    for _ in range(600):
        if server.process.poll() is not None:
            sys.exit(f"{server.name} ended with {server.process.returncode}")
        try:
            async for _ in exchange(server.port, "/health", None):
                pass
            return
        except (OSError, RuntimeError):
            await asyncio.sleep(0.1)
    sys.exit(f"{server.name} did not come up")


def commands(path: pathlib.Path, most: int, options) -> dict[str, list[str]]:
    """What each server is started with, but for its port."""
    length = options.prompt + options.generate + 128
    length += -length % 16
    threads = str(options.threads)
    peer = ["-m", str(path), "-t", threads, "-tb", threads, "-np", str(most), "-c", str(most * length), "--no-webui"]
    return {"Carronade": [str(BINARY), "serve", str(path), "--threads", threads, "--max-num-seqs", str(most), "--max-model-len", str(length),
                          "--ui-port", "0", "--served-model-name", "bench"],
            "llama-server": [llama_cpp.tool("llama-server"), *peer],
            "llama-server --no-repack": [llama_cpp.tool("llama-server", repack=False), *peer, "--no-repack"]}


async def run(options) -> tuple[dict, dict[str, float]]:
    path = compare.model_path(options.model)
    levels = [int(c) for c in options.clients.split(",")]
    results: dict[int, dict[str, list[dict[str, float]]]] = {level: {} for level in levels}
    peaks: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        servers = []
        for name, command in commands(path, max(levels), options).items():
            if name.split(" ")[0] == "llama-server" and options.without_peer:
                continue
            port = free_port()
            process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            servers.append(Server(name, process, port))
            await wait_until_ready(servers[-1])
            await ask(port, "Warm up, please.", 8)
        for level in levels:
            for number in range(options.rounds):
                for server in servers:
                    print(f"{level} clients, round {number + 1} of {options.rounds}: {server.name}", file=sys.stderr)
                    measured = await measure(server, level, options, level * 100 + number)
                    print("   ", ", ".join(f"{key} {value:.3g}" for key, value in measured.items()), file=sys.stderr, flush=True)
                    results[level].setdefault(server.name, []).append(measured)
        peaks = {server.name: server.peak_megabytes() for server in servers}
    return results, peaks


MEASURES = {"tokens_per_second": "tokens/s", "ttft_p50": "first token p50 (s)", "ttft_p99": "p99", "itl_p50": "next token p50 (s)", "itl_p99": "p99"}


def document(results: dict, peaks: dict[str, float], options, command: str) -> str:
    lines = ["# Many clients at once", "",
             f"{options.model}, prompts of about {options.prompt} tokens, answers of {options.generate}, {options.threads} threads, "
             f"{compare.processor()}, {datetime.date.today().isoformat()}; the median of {options.rounds} interleaved rounds.",
             f"Command: `{command}`.", "", "![Tokens a second over clients](serving.svg)", "",
             "| clients | server | " + " | ".join(MEASURES.values()) + " |", "|---" * (len(MEASURES) + 2) + "|"]
    for level, servers in results.items():
        for name, rounds in servers.items():
            row = [f"{statistics.median(r[key] for r in rounds):.3g}" for key in MEASURES]
            lines.append(f"| {level} | {name} | " + " | ".join(row) + " |")
    lines += ["", "Peak resident memory: " + ", ".join(f"{name} {peak:.0f} MB" for name, peak in peaks.items()) + ".", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--clients", default="1,2,4,8,16")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--requests", type=int, default=16, help="in all, at each number of clients (at least one a client)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    results, peaks = asyncio.run(run(options))
    text = document(results, peaks, options, " ".join(["python3 bench/serving/serving.py", *sys.argv[1:]]))
    print(text)
    if not options.dry_run:
        DOCUMENT.write_text(text)
        series = {name: [(level, statistics.median(r["tokens_per_second"] for r in results[level][name])) for level in results]
                  for name in next(iter(results.values()))}
        PICTURE.write_text(plot.lines(series, "clients at once", "tokens a second, all clients together"))


if __name__ == "__main__":
    main()
