#!/usr/bin/env python3
"""How soon a conversation's second turn starts, when its first was long: the time to its first token over the first turn's.

usage: second_turn.py [--model qwen2.5-coder-1.5b] [--tokens 2000]
"""
import argparse
import asyncio
import json
import os
import pathlib
import random
import subprocess
import time

import serving


async def turn(port: int, messages: list[dict]) -> tuple[float, str, int]:
    body = {"model": "bench", "messages": messages, "max_tokens": 24, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    sent, first, text, cached = time.monotonic(), 0.0, "", 0
    async for moment, line in serving.exchange(port, "/v1/chat/completions", body):
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if chunk.get("usage"):
            cached = chunk["usage"]["prompt_tokens_details"]["cached_tokens"]
        if chunk["choices"] and (piece := chunk["choices"][0]["delta"].get("content")):
            first, text = first or moment - sent, text + piece
    return first, text, cached


async def measure(server: serving.Server, tokens: int) -> None:
    await serving.wait_until_ready(server)
    words = " ".join(random.Random(5).choices(serving.WORDS, k=tokens - 50))
    messages = [{"role": "user", "content": words + ". Which of these words comes most often?"}]
    first, text, _ = await turn(server.port, messages)
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And which second?"}]
    second, _, cached = await turn(server.port, messages)
    print(f"first turn {first:.2f} s, second {second:.2f} s ({cached} tokens from the cache): 1/{first / second:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--tokens", type=int, default=2000, help="of the first question")
    options = parser.parse_args()
    path: pathlib.Path = serving.compare.model_path(options.model)
    port = serving.free_port()
    process = subprocess.Popen([str(serving.BINARY), "serve", str(path), "--port", str(port), "--ui-port", "0", "--served-model-name", "bench",
                                "--threads", str(os.cpu_count())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(measure(serving.Server("Carronade", process, port), options.tokens))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
