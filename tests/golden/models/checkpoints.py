"""Small random checkpoints, one for every option of every architecture, as published (safetensors) and as GGUF files.

Weights follow from names alone (splitmix64), so that a test makes, with numpy, the very weights that the goldens were made from with torch.
All are representable in BF16. Cases of one family share their weights: what differs between their answers is the option.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
import struct

import gguf
import numpy as np

VOCABULARY = 131  # odd: no layout divides it


# ---- Numbers from names


def uniform(name, count):
    """float64 in [-1, 1), the same everywhere. Source: splitmix64 (Steele et al. 2014)."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def tensor(name, shape, deviation, mean=0.0):
    """float32 of this mean and deviation whose lower 16 bits are zero."""
    values = (mean + deviation * math.sqrt(3) * uniform(name, math.prod(shape))).astype(np.float32)
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).reshape(shape)


def tokens_of(name, length):
    return ((uniform("tokens " + name, length) + 1) / 2 * VOCABULARY).astype(np.int64).tolist()


# ---- Tensors, under the published names


def decoder_tensors(family, config):
    c = config
    hidden, ffn, heads, kv_heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_key_value_heads"]
    dim = c.get("head_dim") or hidden // heads
    gemma = c["model_type"] == "gemma3_text"
    made = {}

    def matrix(name, rows, columns, gain):
        made[name + ".weight"] = tensor(f"{family} {name}.weight", (rows, columns), gain / math.sqrt(columns))

    def norm(name, n):
        made[name + ".weight"] = tensor(f"{family} {name}.weight", (n,), 0.25, 0.0 if gemma else 1.0)

    def bias(name, n):
        made[name + ".bias"] = tensor(f"{family} {name}.bias", (n,), 0.5)

    made["model.embed_tokens.weight"] = tensor(f"{family} embed", (VOCABULARY, hidden), 0.3)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for part, rows, gain in (("q", heads, 2.0), ("k", kv_heads, 2.0), ("v", kv_heads, 1.0)):
            matrix(layer + f"self_attn.{part}_proj", rows * dim, hidden, gain)
            if c["model_type"] == "qwen2" or c.get("attention_bias"):
                bias(layer + f"self_attn.{part}_proj", rows * dim)
        matrix(layer + "self_attn.o_proj", hidden, heads * dim, 1.0)
        if c.get("attention_bias"):
            bias(layer + "self_attn.o_proj", hidden)
        if gemma or c["model_type"] == "qwen3":
            norm(layer + "self_attn.q_norm", dim)
            norm(layer + "self_attn.k_norm", dim)
        matrix(layer + "mlp.gate_proj", ffn, hidden, 1.5)
        matrix(layer + "mlp.up_proj", ffn, hidden, 1.0)
        matrix(layer + "mlp.down_proj", hidden, ffn, 1.0)
        norm(layer + "input_layernorm", hidden)
        norm(layer + "post_attention_layernorm", hidden)
        if gemma:
            norm(layer + "pre_feedforward_layernorm", hidden)
            norm(layer + "post_feedforward_layernorm", hidden)
    norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        matrix("lm_head", VOCABULARY, hidden, 2.5)
    return made


def bert_tensors(family, config):
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    made = {}

    def linear(name, rows, columns, gain):
        made[name + ".weight"] = tensor(f"{family} {name}.weight", (rows, columns), gain / math.sqrt(columns))
        made[name + ".bias"] = tensor(f"{family} {name}.bias", (rows,), 0.3)

    def norm(name):
        made[name + ".weight"] = tensor(f"{family} {name}.weight", (hidden,), 0.25, 1.0)
        made[name + ".bias"] = tensor(f"{family} {name}.bias", (hidden,), 0.2)

    for name, rows in (
        ("word", config["vocab_size"]),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        made[f"embeddings.{name}_embeddings.weight"] = tensor(f"{family} {name}", (rows, hidden), 0.5)
    norm("embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(layer + f"attention.self.{part}", hidden, hidden, 1.5)
        linear(layer + "attention.output.dense", hidden, hidden, 1.0)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", ffn, hidden, 1.5)
        linear(layer + "output.dense", hidden, ffn, 1.0)
        norm(layer + "output.LayerNorm")
    return made


# ---- The cases


@dataclasses.dataclass
class Case:
    name: str
    config: dict  # config.json
    length: int = 90  # tokens of the text: more than five KV blocks
    pooling: str = ""  # of an encoder: mean | cls
    gguf: bool = False  # there is a GGUF form too

    @property
    def family(self):
        return self.name.split("-")[0]

    @property
    def tokens(self):
        return tokens_of(self.family, self.length)

    @property
    def texts(self):
        """An encoder's, of all lengths up to the longest that it takes."""
        return [tokens_of(f"{self.family} {n}", n) for n in (2, 17, 70, self.config["max_position_embeddings"])]

    @property
    def tensors(self):
        return (bert_tensors if self.pooling else decoder_tensors)(self.family, self.config)

    @property
    def positions(self):
        """Predicted tokens of which the golden says something: all of the beginning, then every fourth."""
        return [*range(1, 24), *range(24, self.length, 4)]


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def llama(name, scaling=None, **options):
    gguf_too = options.pop("gguf", False)
    return Case(name, {"model_type": "llama", **SHAPE, "rope_scaling": scaling, **options}, gguf=gguf_too)


LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 48}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48}
QWEN3 = {"model_type": "qwen3", **SHAPE, "head_dim": 32, "attention_bias": False}
GEMMA3 = {
    **{"model_type": "gemma3_text", **SHAPE, "head_dim": 32, "num_key_value_heads": 1, "num_hidden_layers": 7},
    **{"tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 32, "sliding_window": 24},
    **{"rope_theta": 1000000.0, "rope_local_base_freq": 5000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "sliding_window_pattern": 6,
}
BERT = {
    **{"model_type": "bert", "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"vocab_size": VOCABULARY, "max_position_embeddings": 270, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"},
}

CASES = [
    Case("qwen2", {"model_type": "qwen2", **SHAPE}, gguf=True),
    Case("qwen2-window", {"model_type": "qwen2", **SHAPE, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}),
    Case("qwen3", QWEN3, gguf=True),
    Case("qwen3-tied", {**QWEN3, "tie_word_embeddings": True}, gguf=True),
    llama("llama", gguf=True),
    llama("llama-llama3", LLAMA3, gguf=True),
    llama("llama-yarn", YARN, gguf=True),
    llama("llama-yarn-given", {**YARN, "attention_factor": 0.8, "beta_fast": 8.0, "beta_slow": 2.0}, gguf=True),
    llama("llama-yarn-mscale", {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}),
    llama("llama-linear", {"rope_type": "linear", "factor": 3.0}, gguf=True),
    llama("llama-bias", attention_bias=True, gguf=True),
    llama("llama-tied", tie_word_embeddings=True),
    # Longer than a split of the attention kernel (256).
    Case("mistral", {"model_type": "mistral", **SHAPE, "sliding_window": 24}, length=300, gguf=True),
    Case("mistral-full", {"model_type": "mistral", **SHAPE, "sliding_window": None}, length=300),
    Case("gemma3", GEMMA3, length=300, gguf=True),
    Case(
        "gemma3-caps",
        {**GEMMA3, "query_pre_attn_scalar": 50, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, "sliding_window_pattern": 2},
        length=300,
    ),
    Case("bert-mean", BERT, pooling="mean", gguf=True),
    Case("bert-cls", BERT, pooling="cls", gguf=True),
]


# ---- As published


def write_safetensors(path, tensors):
    """BF16, which holds the weights exactly."""
    header, data = {}, []
    at = 0
    for name, values in tensors.items():
        raw = (values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def write_published(case, folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(case.config, indent=2))
    write_safetensors(folder / "model.safetensors", case.tensors)
    if case.pooling:
        (folder / "1_Pooling").mkdir()
        modes = {f"pooling_mode_{mode}": mode.startswith(case.pooling) for mode in ("cls_token", "mean_tokens")}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return folder


# ---- As llama.cpp's converter would write them

LAYER_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
GEMMA_PARTS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}


def gguf_name(name, gemma):
    stem, suffix = name.rsplit(".", 1)
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{suffix}"
    _, index, part = stem.removeprefix("model.").removeprefix("encoder.").split(".", 2)
    return f"blk.{index}.{GEMMA_PARTS.get(part) if gemma and part in GEMMA_PARTS else LAYER_PARTS[part]}.{suffix}"


def permute(values, heads):
    """The halves of each head → neighbours, as GGUF's llama files have them."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def llama3_factors(config):
    """Divisors of the frequencies."""
    scaling, dim = config["rope_scaling"], config["hidden_size"] // config["num_attention_heads"]
    original, low, high = (scaling[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    factors = []
    for i in range(dim // 2):
        wave = 2 * math.pi * config["rope_theta"] ** (2 * i / dim)
        if wave < original / high:
            factors.append(1.0)
        elif wave > original / low:
            factors.append(scaling["factor"])
        else:
            smooth = (original / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write_scaling(writer, config):
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type")
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    if kind not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
    writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        for key in ("attention_factor", "beta_fast", "beta_slow"):
            if key in scaling:
                getattr(writer, "add_rope_scaling_yarn_" + key.replace("attention", "attn"))(scaling[key])


def quantized(values):
    """As quantizers do it: matrices to Q8_0, or F16 where its blocks of 32 do not divide a row; norms and biases stay."""
    if values.ndim < 2:
        return values, None
    kind = gguf.GGMLQuantizationType.Q8_0 if values.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F16
    return gguf.quants.quantize(values, kind), kind


def write_gguf(case, path, quantize=False):
    config = case.config
    kind = config["model_type"]
    gemma, bert = kind == "gemma3_text", kind == "bert"
    writer = gguf.GGUFWriter(path, {"mistral": "llama", "gemma3_text": "gemma3"}.get(kind, kind))
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    if bert:
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        writer.add_causal_attention(False)
        writer.add_pooling_type({"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS}[case.pooling])
        writer.add_token_type_count(config["type_vocab_size"])
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(config["rope_theta"])
        if "head_dim" in config:
            writer.add_key_length(config["head_dim"])
            writer.add_value_length(config["head_dim"])
        if config.get("sliding_window"):
            writer.add_sliding_window(config["sliding_window"])
        if gemma:
            writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
        write_scaling(writer, config)
    for name, values in case.tensors.items():
        if kind in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
            values = permute(values, config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        if gemma and name.endswith("norm.weight"):
            values = values + np.float32(1)
        values, raw_dtype = quantized(values) if quantize else (np.ascontiguousarray(values), None)
        writer.add_tensor(gguf_name(name, gemma), values, raw_dtype=raw_dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def golden_file(case):
    return pathlib.Path(__file__).parent / "goldens" / f"{case.name}.npz"
