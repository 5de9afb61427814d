#!/usr/bin/env python3
"""Makes the greedy goldens: what llama.cpp continues ten prompts with, and by how much it preferred each token.

    make.py --server PATH/llama-server --model smollm2-135m=FILE.gguf --model qwen2.5-coder-0.5b=FILE.gguf --float smollm2-135m ...

Writes NAME.json beside itself: for each prompt its token ids, and for each of llama.cpp's ways of computing the tokens it chose (at most 48,
the end of its answer included) and the margin in nats between its first and its second choice:

    repacked, plain   its two CPU paths for quantized weights; both round activations to 8 bits, and so differ from each other and from
    float             the same weights, de-quantized into a file of F32 (needs the `gguf` package, and four bytes a weight of disk and memory)

A test may expect the same token wherever the margin is clear: above 0.02 against `float` for who computes in float, and above what rounding
does (0.6 was seen on SmolLM2) for others.
"""

import argparse
import hashlib
import json
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request

TOKENS = 48
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived an old fisherman who",
    "def quicksort(items):\n    if len(items) <= 1:\n        return items\n    pivot = items[0]\n",
    "Question: A train travels 60 km in 45 minutes. What is its average speed in km/h?\nAnswer:",
    "#include <stdio.h>\n\nint main(void) {\n    for (int i = 1; i <= 10; i++) {\n",
    "The three states of matter are solid, liquid and",
    "SELECT name, COUNT(*) FROM orders JOIN customers ON",
    "<|im_start|>user\nWhy is the sky blue? Answer in one sentence.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWrite a haiku about autumn."
    "<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n用一句话介绍北京。<|im_end|>\n<|im_start|>assistant\n",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, program, model, flags):
        self.port = free_port()
        command = [program, "-m", model, "--host", "127.0.0.1", "--port", str(self.port), "-c", "2048", "-np", "1", "-t", "1", "--no-webui", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health").read()
                return self
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("llama-server ended")
                time.sleep(0.2)
        raise SystemExit("llama-server does not answer")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def tokenize(self, text):
        return self.post("/tokenize", {"content": text, "parse_special": True})["tokens"]

    def greedy(self, prompt):
        answer = self.post("/completion", {"prompt": prompt, "temperature": 0, "n_predict": TOKENS, "n_probs": 2,
                                           "return_tokens": True, "cache_prompt": False})
        tokens, margins = [], []
        for entry in answer["completion_probabilities"]:
            best, second = entry["top_logprobs"][:2]
            tokens.append(entry["id"])
            margins.append(round(best["logprob"] - second["logprob"], 4) if best["id"] == entry["id"] else 0.0)
        return {"tokens": tokens, "margins": margins}


def dequantize(source, target):
    import gguf
    import numpy

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(server, name, path, with_float):
    golden = {"model": name, "sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(), "prompts": []}
    with Server(server, path, []) as repacked:
        for text in PROMPTS:
            prompt = repacked.tokenize(text)
            golden["prompts"].append({"text": text, "prompt": prompt, "repacked": repacked.greedy(prompt)})
    with Server(server, path, ["--no-repack"]) as plain:
        for entry in golden["prompts"]:
            entry["plain"] = plain.greedy(entry["prompt"])
    if with_float:
        with tempfile.TemporaryDirectory() as folder:
            dequantize(path, f"{folder}/float.gguf")
            with Server(server, f"{folder}/float.gguf", []) as exact:
                for entry in golden["prompts"]:
                    entry["float"] = exact.greedy(entry["prompt"])
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in golden.pop("prompts"))
    head = json.dumps(golden)[:-1]
    target = pathlib.Path(__file__).with_name(f"{name}.json")
    target.write_text(f'{head}, "prompts": [\n{lines}\n]}}\n', encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="llama-server")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--float", action="append", default=[], metavar="NAME", help="also de-quantized")
    arguments = parser.parse_args()
    for model in arguments.model:
        name, _, path = model.partition("=")
        make(arguments.server, name, path, name in arguments.float)


if __name__ == "__main__":
    main()
