#!/usr/bin/env python3
"""transformers on torch as a peer: reading a prompt and decoding in batches, beside `carronade bench` on the same file, interleaved.

    pip install torch transformers gguf accelerate
    torch_peer.py FILE.gguf [--folder FOLDER] [--dtype bfloat16] [--prompt 128] [--generate 32] [--batches 1,4] [--rounds 3] [--threads N]

transformers keeps a file's blocks packed and computes in float32, whatever `dtype` says; a BF16 file it takes as it is. FOLDER holds the same
model in its own form: then it computes in `dtype`. Both get random tokens, a greedy answer and the same threads. Prints a Markdown table of
medians (minima), tokens a second; decoding is also noted for the plot that compare.py draws.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

import compare
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "build/release/carronade"
PEERS = ROOT / "build/bench/peers.jsonl"


def load(path: pathlib.Path, dtype: str) -> transformers.PreTrainedModel:
    """Of a GGUF file or a folder."""
    folder, file = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **file).eval()


@torch.inference_mode()
def theirs(model: transformers.PreTrainedModel, prompt: int, generate: int, batch: int) -> dict[str, float]:
    tokens = torch.randint(0, model.config.vocab_size, (batch, prompt))
    start = time.perf_counter()
    out = model(tokens, use_cache=True, logits_to_keep=1)
    read = time.perf_counter()
    for _ in range(generate):
        out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
    return {"prefill": batch * prompt / (read - start), "decode": batch * generate / (time.perf_counter() - read)}


def ours(path: pathlib.Path, prompt: int, generate: int, batch: int, threads: int) -> dict[str, float]:
    command = [str(BINARY), "bench", str(path), "--prompt", str(prompt), "--generate", str(generate), "--batch", str(batch), "--threads",
               str(threads), "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"prefill": result["prefill_tokens_per_second"], "decode": result["decode_tokens_per_second"]}


def note(peer: str, model: pathlib.Path, threads: int, batch: int, speeds: list[float]) -> None:
    """A median for compare.py's plot."""
    PEERS.parent.mkdir(parents=True, exist_ok=True)
    line = {"peer": peer, "file": str(model.resolve()), "threads": threads, "batch": batch, "speed": statistics.median(speeds),
            "processor": compare.processor()}
    with PEERS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32", "float16"])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.generate < 2:
        parser.error("--generate must be at least 2: the first token is the prompt's")
    torch.set_num_threads(options.threads)
    model = load((options.folder or options.model).resolve(), options.dtype)
    theirs(model, 8, 2, 1)  # warms up
    print(f"| {options.model.stem}, torch {torch.__version__}, {options.dtype} | Carronade median (min) | transformers median (min) | ratio |")
    print("|---|---|---|---|")
    for batch in [int(b) for b in options.batches.split(",")]:
        mine, peer = [], []
        for _ in range(options.rounds):
            mine.append(ours(options.model, options.prompt, options.generate, batch, options.threads))
            peer.append(theirs(model, options.prompt, options.generate, batch))
        for what in ["prefill", "decode"] if batch == 1 else ["decode"]:
            a, b = [m[what] for m in mine], [p[what] for p in peer]
            name = f"prefill, {options.prompt} tokens" if what == "prefill" else f"decode, batch {batch}"
            print(f"| {name} | {cell(a)} | {cell(b)} | {statistics.median(a) / statistics.median(b):.2f}× |", flush=True)
            if what == "decode":
                note(f"transformers{', ' + options.dtype if options.folder else ''}", options.model, options.threads, batch, b)


if __name__ == "__main__":
    main()
