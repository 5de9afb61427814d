"""Low-rank adapters beside PEFT, four and their base in one batch, over the wire."""

import concurrent.futures
import json
import pathlib
import sys
import urllib.request

import adapters
import checkpoints
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "api"))
from server import Server  # noqa: E402

NEAR = 2e-4


def write_tokenizer(folder):
    """A letter for each token: nothing here is text, but a served model has a tokenizer."""
    vocabulary = {chr(256 + i): i for i in range(checkpoints.VOCABULARY)}
    tokenizer = {
        "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    base = checkpoints.write_published(adapters.BASE, folder / "base")
    write_tokenizer(base)
    modules = [f"{name}={adapters.write(name, folder / name)}" for name in adapters.ADAPTERS]
    # Not the kernels that round activations to BF16: the goldens know no rounding.
    exact = {"CARRONADE_ISA": "avx512"} if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text() else {}
    with Server("--lora-modules", *modules, "--kv-cache-dtype", "f32", "--no-enable-prefix-caching", model=str(base), page=False, **exact) as running:
        yield running


def rated(server, name):
    """[predicted position] → {token: log-probability} of the 20 most probable tokens."""
    body = {"model": name, "prompt": adapters.BASE.tokens, "max_tokens": 1, "prompt_logprobs": 20}
    request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        places = json.load(reply)["choices"][0]["prompt_logprobs"]
    return [{int(token): value["logprob"] for token, value in (place or {}).items()} for place in places]


def difference(places, golden):
    worst = 0.0
    for position, ids, logprobs in zip(golden["positions"], golden["ids"], golden["logprobs"]):
        worst = max(worst, *(abs(places[position][token] - logprob) for token, logprob in zip(ids.tolist(), logprobs.tolist())))
    return worst


def test_four_adapters_and_their_base_in_one_batch(server):
    names = ["tiny", *adapters.ADAPTERS]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        answers = dict(zip(names, pool.map(lambda name: rated(server, name), names)))
    goldens = {name: np.load(adapters.golden_file(name)) for name in adapters.ADAPTERS}
    goldens["tiny"] = np.load(checkpoints.golden_file(adapters.BASE))
    for name in names:
        assert difference(answers[name], goldens[name]) < NEAR, name
    # Were one taken for another, it would show.
    for name in adapters.ADAPTERS:
        best = goldens[name]["logprobs"][:, 0] - goldens["tiny"]["logprobs"][:, 0]
        assert np.abs(best).max() > 100 * NEAR
