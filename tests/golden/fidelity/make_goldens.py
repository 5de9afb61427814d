#!/usr/bin/env python3
"""Makes the fidelity goldens: what transformers, in float32 on the de-quantized weights of a GGUF file, says of the texts in text/.

    pip install torch transformers gguf numpy accelerate
    make_goldens.py --model smollm2-135m=FILE.gguf --positions 2000 --model qwen2.5-coder-0.5b=FILE.gguf --positions 256 ...
                    [--top 128] [--check] [--output FOLDER]

Writes NAME.logprobs: for each token but the first of each text the K most probable tokens, their log-probabilities in steps of 1/2048 nat,
and one number for all others (the format: src/cli/logprob_golden.h; how divergences are measured: goldens.py).

The weights are read with the `gguf` package, tensor by tensor, into the model that transformers makes of the file's metadata, and attention
is the plain one ("eager"). --check holds all of it against transformers' own reader of GGUF files.
"""

import argparse
import hashlib
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "text")]
import goldens  # noqa: E402
import vocabularies  # noqa: E402

TEXTS = ["english", "chinese", "code", "mathematics"]
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def published_name(name):
    """"blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.{kind}"


def undo_permutation(values, heads):
    """llama's q and k: GGUF has rotation pairs beside each other, the published form has them half a head apart."""
    rows = values.shape[0]
    return values.reshape(heads, rows // heads // 2, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def config_of(reader):
    architecture = reader.fields["general.architecture"].contents()

    def value(key, default=None):
        field = reader.fields.get(f"{architecture}.{key}")
        return default if field is None else field.contents()

    names = {tensor.name for tensor in reader.tensors}
    heads, hidden = value("attention.head_count"), value("embedding_length")
    assert value("rope.scaling.type", "none") == "none" and value("rope.dimension_count", hidden // heads) == hidden // heads
    assert "rope_freqs.weight" not in names
    common = {
        "hidden_size": hidden, "intermediate_size": value("feed_forward_length"), "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads, "num_key_value_heads": value("attention.head_count_kv", heads),
        "rms_norm_eps": float(value("attention.layer_norm_rms_epsilon")), "max_position_embeddings": value("context_length"),
        "vocab_size": int(next(t for t in reader.tensors if t.name == "token_embd.weight").shape[1]),
        "tie_word_embeddings": "output.weight" not in names,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(value("rope.freq_base", 10000.0))},
        "attn_implementation": "eager",
    }
    kind = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[architecture]
    return kind(**common)


def load(path):
    reader = gguf.GGUFReader(path)
    config = config_of(reader)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    state = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if config.model_type == "llama" and tensor.name.endswith("attn_q.weight"):
            values = undo_permutation(values, config.num_attention_heads)
        elif config.model_type == "llama" and tensor.name.endswith("attn_k.weight"):
            values = undo_permutation(values, config.num_key_value_heads)
        state[published_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(values))
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    rotary = model.model.rotary_emb  # not a weight, so still without memory
    model.model.rotary_emb = type(rotary)(config)
    return model.eval()


def check(model, path):
    """transformers' reader of GGUF files gives the same weights and the same logits."""
    path = pathlib.Path(path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                               attn_implementation="eager").eval()
    own = dict(model.named_parameters())
    for name, parameter in theirs.named_parameters():
        assert torch.equal(parameter, own[name]), name
    tokens = torch.arange(100, 164)[None]
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, theirs(tokens).logits)
    print(f"{path.name}: as transformers reads it", file=sys.stderr)


def make(name, path, positions, top, checked):
    tokenizer = vocabularies.oracle(vocabularies.Vocabulary(path))
    model = load(path)
    if checked:
        check(model, path)
    sequences, parts = [], []
    for index, text in enumerate(TEXTS):
        wanted = positions // len(TEXTS) + (index < positions % len(TEXTS))
        ids = tokenizer.encode((HERE / "text" / f"{text}.txt").read_text(encoding="utf-8"), add_special_tokens=False).ids
        assert len(ids) > wanted, f"{text} has {len(ids)} tokens, {wanted + 1} are wanted"
        ids = ids[: wanted + 1]
        with torch.no_grad():
            logprobs = goldens.log_softmax(model(torch.tensor([ids[:-1]])).logits[0].numpy())
        tokens = np.argsort(-logprobs, axis=-1, kind="stable")[:, :top]
        parts.append((tokens, np.take_along_axis(logprobs, tokens, axis=-1), goldens.log_rest(logprobs, tokens),
                      logprobs[np.arange(wanted), ids[1:]]))
        sequences.append(ids)
    oracle = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32"
    return goldens.Golden(name, hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(), oracle, TEXTS, sequences,
                          *(np.concatenate(column) for column in zip(*parts)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--positions", action="append", type=int, required=True, help="for each model")
    parser.add_argument("--top", type=int, default=128)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    arguments = parser.parse_args()
    for model, positions in zip(arguments.model, arguments.positions, strict=True):
        name, _, path = model.partition("=")
        golden = make(name, path, positions, arguments.top, arguments.check)
        golden.write(arguments.output / f"{name}.logprobs")
        print(f"{name}: {golden.positions} positions, perplexity {np.exp(-golden.actual.mean()):.4f}", file=sys.stderr)


if __name__ == "__main__":
    main()
