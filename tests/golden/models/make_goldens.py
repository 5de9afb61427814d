"""Make goldens/*.npz: the answers of transformers, in float32, to the checkpoints of checkpoints.py, and of PEFT to the adapters of adapters.py.

    pip install torch transformers peft numpy gguf
    python make_goldens.py [case or adapter …]

For a decoder: at each of `positions` the TOP most probable tokens with their log-probabilities, and that of all others together.
For an encoder: the pooled vector of each text.
"""

import pathlib
import sys
import tempfile

import adapters
import checkpoints
import numpy as np
import peft
import torch
import transformers
from transformers.models.gemma3 import modeling_gemma3

TOP = 12

plain_attention = modeling_gemma3.eager_attention_forward


def capped_attention(module, *arguments, **options):
    """transformers reads attn_logit_softcapping and has the code for it, but does not hand it on: no published Gemma 3 sets it."""
    return plain_attention(module, *arguments, **{**options, "softcap": module.attn_logit_softcapping})


modeling_gemma3.eager_attention_forward = capped_attention


def load(case, folder):
    kind = transformers.AutoModel if case.pooling else transformers.AutoModelForCausalLM
    model, info = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    # A bert that is loaded as a plain model has a pooler on top, which embedding models leave out.
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model.eval()


def of_decoder(case, model):
    logits = model(torch.tensor([case.tokens])).logits[0].double()
    logprobs = torch.log_softmax(logits, -1).numpy()[[p - 1 for p in case.positions]]
    ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :TOP]
    listed = np.take_along_axis(logprobs, ids, axis=1)
    others = logprobs.copy()
    np.put_along_axis(others, ids, -np.inf, axis=1)
    rest = np.log(np.exp(others).sum(axis=1))
    return {
        "positions": np.array(case.positions, dtype=np.int16),
        "ids": ids.astype(np.int16),
        "logprobs": listed.astype(np.float32),
        "rest": rest.astype(np.float32),
    }


def of_encoder(case, model):
    vectors = []
    for text in case.texts:
        states = model(torch.tensor([text])).last_hidden_state[0].double()
        vectors.append((states.mean(0) if case.pooling == "mean" else states[0]).numpy())
    return {"vectors": np.array(vectors, dtype=np.float32)}


def main():
    for case in checkpoints.CASES:
        if sys.argv[1:] and case.name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            model = load(case, checkpoints.write_published(case, pathlib.Path(folder) / case.name))
            golden = (of_encoder if case.pooling else of_decoder)(case, model)
        np.savez_compressed(checkpoints.golden_file(case), **golden)
        print(case.name, {key: value.shape for key, value in golden.items()})
    for name in adapters.ADAPTERS:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            base = load(adapters.BASE, checkpoints.write_published(adapters.BASE, pathlib.Path(folder) / "base"))
            written = adapters.write(name, pathlib.Path(folder) / name)
            model = peft.PeftModel.from_pretrained(base, written).eval()
            assert all(parameter.any() for key, parameter in model.named_parameters() if "lora_B" in key)  # all were found
            golden = of_decoder(adapters.BASE, model)
        np.savez_compressed(adapters.golden_file(name), **golden)
        print(name, {key: value.shape for key, value in golden.items()})


if __name__ == "__main__":
    main()
