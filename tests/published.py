"""A model as hubs publish it, made of a GGUF file: config.json, the tokenizer's files and safetensors in two shards. With numpy alone.

Reads like the folders that transformers' save_pretrained writes; and `Llama` computes what such a folder means, so that a test knows
the right answer.
"""

import json
import pathlib

import gguf
import numpy as np

PARTS = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL = 3  # token types of GGUF


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of floats, rounded to nearest even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    return (halves.astype(np.uint32) << 16).view(np.float32)


ENCODERS = {
    "BF16": to_bfloat16,
    "F16": lambda values: values.astype(np.float16),
    "F32": lambda values: np.ascontiguousarray(values, dtype=np.float32),
}


class GgufModel:
    """Metadata and de-quantized tensors under their published names, of a file of the architecture llama."""

    def __init__(self, path: pathlib.Path) -> None:
        self.reader = gguf.GGUFReader(path)
        assert self["general.architecture"] == "llama"

    def __getitem__(self, key: str):
        return self.reader.fields[key].contents()

    def get(self, key: str, default=None):
        return self[key] if key in self.reader.fields else default

    def tensors(self):
        """(name, float32 array), as published: GGUF's llama files have the rotated pairs of q and k side by side."""
        heads, kv_heads = self["llama.attention.head_count"], self["llama.attention.head_count_kv"]
        for tensor in self.reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            stem = tensor.name.removesuffix(".weight")
            if stem in WHOLE:
                yield WHOLE[stem] + ".weight", values
            elif stem.startswith("blk."):
                _, layer, part = stem.split(".")
                if part in ("attn_q", "attn_k"):
                    count, columns = heads if part == "attn_q" else kv_heads, values.shape[1]
                    values = values.reshape(count, -1, 2, columns).swapaxes(1, 2).reshape(-1, columns)
                yield f"model.layers.{layer}.{PARTS[part]}.weight", values

    def config(self) -> dict:
        names = [tensor.name for tensor in self.reader.tensors]
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            # A repository may bring code along; it must never be fetched, let alone run.
            "auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"},
            "hidden_size": self["llama.embedding_length"],
            "intermediate_size": self["llama.feed_forward_length"],
            "num_hidden_layers": self["llama.block_count"],
            "num_attention_heads": self["llama.attention.head_count"],
            "num_key_value_heads": self["llama.attention.head_count_kv"],
            "max_position_embeddings": self["llama.context_length"],
            "rms_norm_eps": self["llama.attention.layer_norm_rms_epsilon"],
            "rope_theta": self["llama.rope.freq_base"],
            "vocab_size": len(self["tokenizer.ggml.tokens"]),
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self["tokenizer.ggml.bos_token_id"],
            "eos_token_id": self["tokenizer.ggml.eos_token_id"],
            "torch_dtype": "bfloat16",
        }

    def tokenizer(self) -> dict:
        """tokenizer.json of SmolLM2's kind: digits apart, then GPT-2's pattern."""
        tokens, types = self["tokenizer.ggml.tokens"], self["tokenizer.ggml.token_type"]
        special = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                   for i, (token, kind) in enumerate(zip(tokens, types)) if kind == CONTROL]  # fmt: skip
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
            "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: i for i, token in enumerate(tokens)}, "merges": self["tokenizer.ggml.merges"]},
        }  # fmt: skip


def write_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(values.tobytes())


def publish(source: pathlib.Path, folder: pathlib.Path, dtype: str = "BF16") -> None:
    model = GgufModel(source)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: ENCODERS[dtype](values) for name, values in model.tensors()}
    names = list(tensors)
    shards = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    for file, part in zip(files, shards):
        write_safetensors(folder / file, {name: tensors[name] for name in part}, dtype)
    index = {
        "metadata": {"total_size": sum(values.nbytes for values in tensors.values())},
        "weight_map": {name: file for file, part in zip(files, shards) for name in part},
    }
    eos = model["tokenizer.ggml.tokens"][model["tokenizer.ggml.eos_token_id"]]
    texts = {
        "config.json": model.config(),
        "generation_config.json": {"eos_token_id": [model["tokenizer.ggml.eos_token_id"]], "temperature": 0.7, "top_p": 0.9},
        "tokenizer.json": model.tokenizer(),
        "tokenizer_config.json": {"eos_token": eos, "tokenizer_class": "GPT2Tokenizer"},
        "model.safetensors.index.json": index,
    }
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(model["tokenizer.chat_template"], encoding="utf-8")
    (folder / "modeling_own.py").write_text("raise SystemExit('this code was run')\n", encoding="utf-8")


class Llama:
    """The forward pass that a published folder of this architecture means, in float32."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {}
        for path in sorted(folder.glob("*.safetensors")):
            data = path.read_bytes()
            size = int.from_bytes(data[:8], "little")
            for name, entry in json.loads(data[8 : 8 + size]).items():
                if name == "__metadata__":
                    continue
                begin, end = entry["data_offsets"]
                kind = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}[entry["dtype"]]
                values = np.frombuffer(data, kind, (end - begin) // np.dtype(kind).itemsize, 8 + size + begin)
                values = from_bfloat16(values) if entry["dtype"] == "BF16" else values.astype(np.float32)
                self.weights[name] = values.reshape(entry["shape"])

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * self.weights[name + ".weight"]

    def rotate(self, x: np.ndarray) -> np.ndarray:  # [positions, heads, head_dim]
        half = x.shape[-1] // 2
        angles = np.arange(len(x))[:, None] * self.config["rope_theta"] ** (-np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None].astype(np.float32), np.sin(angles)[:, None].astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def logits(self, tokens: list[int]) -> np.ndarray:
        """[positions, vocabulary]"""
        n, heads, kv_heads = len(tokens), self.config["num_attention_heads"], self.config["num_key_value_heads"]
        x = self.weights["model.embed_tokens.weight"][tokens]
        mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            project = lambda x, part: x @ self.weights[f"{prefix}{part}.weight"].T  # noqa: E731, B023
            h = self.norm(x, prefix + "input_layernorm")
            q = self.rotate(project(h, "self_attn.q_proj").reshape(n, heads, -1)).swapaxes(0, 1)
            k = self.rotate(project(h, "self_attn.k_proj").reshape(n, kv_heads, -1)).swapaxes(0, 1).repeat(heads // kv_heads, 0)
            v = project(h, "self_attn.v_proj").reshape(n, kv_heads, -1).swapaxes(0, 1).repeat(heads // kv_heads, 0)
            scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[-1])) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (scores / scores.sum(-1, keepdims=True)) @ v
            x = x + project(mixed.swapaxes(0, 1).reshape(n, -1), "self_attn.o_proj")
            h = self.norm(x, prefix + "post_attention_layernorm")
            gate = project(h, "mlp.gate_proj")
            x = x + project(gate / (1 + np.exp(-gate)) * project(h, "mlp.up_proj"), "mlp.down_proj")
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        return self.norm(x, "model.norm") @ self.weights[head + ".weight"].T
