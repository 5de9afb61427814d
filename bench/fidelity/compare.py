#!/usr/bin/env python3
"""How close our answers and llama.cpp's are to the model's own: the same file, the same tokens, the same oracle.

    CARRONADE_BUILD=build/release python3 bench/fidelity/compare.py [--model NAME=FILE[:GOLDEN] ...] [--llama-build FOLDER] [--threads N] [--write]

Without --model the three models of tests/golden/fidelity, as `carronade pull` left them. Each is run in every form that we and llama.cpp
offer; llama.cpp runs through bench/fidelity/llama_logits.cc with its default settings but for what the form's name says. Prints a table;
--write puts it into docs/benchmarks.md. Exits with 1 where we are further from the oracle than llama.cpp.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "golden" / "fidelity"), str(ROOT / "bench" / "peers"), str(ROOT / "tests")]
import goldens  # noqa: E402
import llama_cpp  # noqa: E402
import peers  # noqa: E402

BUILD = ROOT / os.environ.get("CARRONADE_BUILD", "build/release")
MODELS = ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]
# What is called what, and how it is asked for. Compared with each other: those of the same KV cache.
OURS = {
    "Carronade": [],
    "Carronade, KV q8_0": ["--kv-cache-dtype", "q8_0"],
    "Carronade, float activations": ["--float-activations"],
}
LLAMA = {
    "llama.cpp": [],
    "llama.cpp, KV q8_0": ["--cache-type", "q8_0"],
}
HELD_AGAINST = {"Carronade": "llama.cpp", "Carronade, KV q8_0": "llama.cpp, KV q8_0"}


def installed(name):
    listed = subprocess.run([BUILD / "carronade", "list", "--json"], check=True, capture_output=True, text=True).stdout
    for model in json.loads(listed)["installed"]:
        if model["name"] == name:
            return pathlib.Path(model["path"])
    raise SystemExit(f"{name} is not here: `carronade pull {name}`")


def build_driver(folder, build):
    source, libraries = peers.llama_cpp_source(), build / "bin"
    program = folder / "llama_logits"
    subprocess.run(["g++", "-O2", "-std=c++20", str(pathlib.Path(__file__).with_name("llama_logits.cc")), f"-I{source / 'include'}",
                    f"-I{source / 'ggml' / 'include'}", f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lllama", "-lggml", "-lggml-base",
                    "-o", str(program)], check=True)
    return program


def measure_ours(path, golden, flags, threads):
    command = [BUILD / "carronade", "eval", path, "--compare", golden, "--json", "--threads", str(threads), *flags]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_llama(program, path, golden, flags, threads):
    golden = goldens.read(golden)
    words = b"".join(np.array([len(s), *s], "<u4").tobytes() for s in golden.sequences)
    comparison = goldens.Comparison(golden)
    with subprocess.Popen([program, path, "--threads", str(threads), *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(words)
        process.stdin.close()
        vocabulary = int(np.frombuffer(process.stdout.read(4), "<u4")[0])
        for sequence in golden.sequences:
            for _ in sequence[1:]:
                comparison.add(np.frombuffer(process.stdout.read(4 * vocabulary), "<f4")[None])
    if process.returncode != 0:
        raise SystemExit("llama_logits failed")
    return comparison.summary()


def row(model, name, r):
    return (f"| {model} | {name} | {r['mean_kl']:.2e} ± {r['mean_kl_error']:.0e} | {r['p99_kl']:.1e} | {100 * r['same_top']:.2f} % "
            f"| {r['perplexity']:.3f} ± {r['perplexity_error']:.3f} | {r['perplexity_ratio']:.4f} ± {r['perplexity_ratio_error']:.4f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="NAME=FILE[:GOLDEN]")
    parser.add_argument("--llama-build", type=pathlib.Path, help="a build of llama.cpp; otherwise it is built, once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    models = []
    for text in arguments.model or MODELS:
        name, _, path = text.partition("=")
        path, _, golden = path.partition(":")
        models.append((name, path or str(installed(name)), golden or str(ROOT / "tests/golden/fidelity" / f"{name}.logprobs")))
    llama_build = arguments.llama_build or pathlib.Path(llama_cpp.tool("llama-perplexity")).parents[1]
    worse = []
    lines = ["| model | | mean KL (nats) | 99 % below | same top token | perplexity | times the oracle's |", "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        program = build_driver(pathlib.Path(folder), llama_build)
        for name, path, golden in models:
            oracle = goldens.read(golden)
            results = {form: measure_ours(path, golden, flags, arguments.threads) for form, flags in OURS.items()}
            results |= {form: measure_llama(program, path, golden, flags, arguments.threads) for form, flags in LLAMA.items()}
            actual = oracle.actual
            perplexity = np.exp(-actual.mean())
            lines.append(f"| {name} | the oracle, {oracle.positions} positions | | | "
                         f"| {perplexity:.3f} ± {perplexity * goldens.standard_error(actual):.3f} | |")
            for form, result in results.items():
                lines.append(row("", form, result))
                print(name, form, json.dumps({k: v for k, v in result.items() if k != "sequences"}), file=sys.stderr)
            worse += [f"{name}: {ours}" for ours, theirs in HELD_AGAINST.items() if results[ours]["mean_kl"] > results[theirs]["mean_kl"]]
    table = "\n".join(lines)
    print(table)
    if arguments.write:
        page = ROOT / "docs" / "benchmarks.md"
        start, end = "<!-- table: bench/fidelity/compare.py -->", "<!-- end of fidelity table -->"
        text = page.read_text(encoding="utf-8")
        text, count = re.subn(f"({start}\n).*?({end})", lambda m: f"{m[1]}{table}\n{m[2]}", text, flags=re.S)
        assert count == 1
        page.write_text(text, encoding="utf-8")
    for line in worse:
        print(f"further from the oracle than llama.cpp: {line}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
