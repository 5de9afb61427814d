#!/usr/bin/env python3
"""Tokenizer throughput beside the `tokenizers` library and llama.cpp: one thread, processor time, the best of some rounds, interleaved.

    CARRONADE_BUILD=build/release python3 bench/text/tokenizers.py [--llama-build FOLDER] [--rounds 5]

FOLDER is a build of llama.cpp (its bin/ with libllama.so); without it that column is left out. Needs the packages of tests/requirements.txt.
"""

import argparse
import json
import os
import pathlib
import pydoc_data.topics
import random
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "golden" / "text"), str(ROOT / "tests")]
sys.path = [path for path in sys.path if pathlib.Path(path or ".").resolve() != pathlib.Path(__file__).resolve().parent]

import carronade_text  # noqa: E402
import mixed_text  # noqa: E402
import peers  # noqa: E402
import vocabularies  # noqa: E402

SIZE = 1_000_000


def shuffled(language, rng):
    prose = mixed_text.PROSE[language]
    parts = list(prose.replace("\n", "").replace(" ", "")) if language in ("zh", "ja") else [word + " " for word in prose.split()]
    return ["".join(rng.choices(parts, k=5000)).encode() for _ in range(SIZE // 5000 // len(parts[0].encode()) + 1)]


def texts_by_kind(vocabulary):
    rng = random.Random(1)
    code = []
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        code.append(path.read_bytes())
        if sum(map(len, code)) > SIZE:
            break
    return {
        "English": [text.encode() for text in pydoc_data.topics.topics.values()],
        "code": code,
        "Chinese": shuffled("zh", rng),
        "Hindi": shuffled("hi", rng),
        "everything": mixed_text.mixed_text(1, SIZE, vocabularies.words_of(vocabulary)),
    }


def compile_llama(build, folder):
    program = folder / "llama_tokenize"
    source = peers.llama_cpp_source()
    includes = [f"-I{source / 'include'}", f"-I{source / 'ggml' / 'include'}"]
    libraries = [f"-L{build}", f"-Wl,-rpath,{build}", "-lllama", "-lggml", "-lggml-base"]
    command = ["g++", "-O2", "-std=c++20", str(pathlib.Path(__file__).with_name("llama_tokenize.cc")), *includes, *libraries]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def measure_library(oracle, texts):
    strings = [text.decode(errors="replace") for text in texts]
    start = time.process_time()
    oracle.encode_batch_fast(strings, add_special_tokens=False)
    return time.process_time() - start


def measure_llama(program, path, texts):
    texts = [text.decode(errors="replace").encode() for text in texts]  # it throws for invalid UTF-8
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    done = subprocess.run([program, path, "1"], input=data, capture_output=True, check=False)
    return json.loads(done.stdout)["encode_seconds"] if done.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama-build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabularies", nargs="*", default=["qwen2", "deepseek-r1", "smollm2", "llama-bpe", "llama-spm", "bert-bge"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        llama = compile_llama(arguments.llama_build / "bin", folder) if arguments.llama_build else None
        print("| vocabulary | text | carronade MB/s | tokenizers MB/s | llama.cpp MB/s | ratio to tokenizers | to llama.cpp |")
        print("|---|---|---|---|---|---|---|")
        for name in arguments.vocabularies:
            file = peers.vocabulary_file(name)
            vocabulary = vocabularies.Vocabulary(file)
            path = folder / f"{name}.ctok"
            vocabulary.write(path)
            for kind, texts in texts_by_kind(vocabulary).items():
                size = sum(map(len, texts)) / 1e6
                times = {"carronade": [], "tokenizers": [], "llama": []}
                for _ in range(arguments.rounds):
                    times["carronade"].append(carronade_text.tokenize(path, texts)[1]["encode_seconds"])
                    # A new one each round: the library keeps a cache of words from call to call.
                    oracle = vocabularies.oracle(vocabulary)
                    oracle.encode_special_tokens = True
                    times["tokenizers"].append(measure_library(oracle, texts))
                    if llama:
                        times["llama"].append(measure_llama(llama, file, texts))
                best = {who: min(values) if values and None not in values else None for who, values in times.items()}
                speed = {who: f"{size / value:.1f}" if value else "–" for who, value in best.items()}
                ratio = {who: f"{value / best['carronade']:.1f}×" if value else "–" for who, value in best.items()}
                row = [name, kind, speed["carronade"], speed["tokenizers"], speed["llama"], ratio["tokenizers"], ratio["llama"]]
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
