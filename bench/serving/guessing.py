#!/usr/bin/env python3
"""What guessed tokens bring: the same requests to a server that guesses and to one that does not, in turn; the texts must be equal.

usage: guessing.py [--model NAME] [--rounds 3] [--generate 200]
"""
import argparse
import json
import statistics
import subprocess
import time
import urllib.request

from serving import BINARY, ROOT, free_port

CODE = (ROOT / "tests/peers.py").read_text()[:2500]
PROSE = (ROOT / "docs/decisions/0003-the-same-answer-whatever-the-load.md").read_text()[:1800]
PROMPTS = {
    "editing code": ("Rewrite this Python file with every string in single quotes, nothing else changed:\n" + CODE, 0),
    "quoting": ("Repeat the following text word for word:\n" + PROSE, 0),
    "a story, greedy": ("Tell me a story about a ship.", 0),
    "a story, temperature 0.8": ("Tell me a story about a ship.", 0.8),
    "haiku, temperature 0.8": ("Write ten haiku about different things.", 0.8),
    "mathematics, temperature 0.8": ("Explain the proof that there are infinitely many primes, then compute 17*23.", 0.8),
}


def start(model: str, tokens: int) -> tuple[subprocess.Popen, int]:
    port = free_port()
    process = subprocess.Popen([str(BINARY), "serve", model, "--port", str(port), "--ui-port", "0", "--speculative-config",
                                json.dumps({"method": "ngram", "num_speculative_tokens": tokens})], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
            return process, port
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server ended")


def ask(port: int, prompt: str, temperature: float, generate: int) -> tuple[float, str]:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": generate, "temperature": temperature, "seed": 5, "ignore_eos": True}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin = time.monotonic()
    answer = json.load(urllib.request.urlopen(request))
    return generate / (time.monotonic() - begin), answer["choices"][0]["message"]["content"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generate", type=int, default=200)
    options = parser.parse_args()
    servers = [start(options.model, tokens) for tokens in (0, 6)]
    try:
        print("| " + options.model + " | plain tok/s | guessing tok/s | ratio |\n|---|---|---|---|")
        for name, (prompt, temperature) in PROMPTS.items():
            speeds: list[list[float]] = [[], []]
            for number in range(options.rounds + 1):  # the first fills the prefix cache
                answers = [ask(port, prompt, temperature, options.generate) for _, port in servers]
                if answers[0][1] != answers[1][1]:
                    raise SystemExit(f"{name}: the texts differ")
                if number > 0:
                    for i in (0, 1):
                        speeds[i].append(answers[i][0])
            plain, guessing = (statistics.median(s) for s in speeds)
            print(f"| {name} | {plain:.1f} | {guessing:.1f} | {guessing / plain:.2f}× |", flush=True)
    finally:
        for process, _ in servers:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
