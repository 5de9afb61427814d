"""Every architecture and every option of it against transformers, over small random checkpoints that are made here.

The goldens and how they were made: make_goldens.py. Weights and KV are float, so answers differ by the rounding of sums only.
"""

import json
import os
import pathlib
import subprocess

import checkpoints
import numpy as np
import pytest

CARRONADE = pathlib.Path(os.environ.get("CARRONADE_BUILD", pathlib.Path(__file__).resolve().parents[3] / "build/release")) / "carronade"
CASES = {case.name: case for case in checkpoints.CASES}
DECODERS = [case for case in checkpoints.CASES if not case.pooling]
ENCODERS = [case for case in checkpoints.CASES if case.pooling]

# Of a log-probability, and of a vector's numbers (of order 1). Measured: at most 9e-5 and 2e-6.
NEAR, NEAR_VECTOR = 2e-4, 2e-5
FLOAT = "--float-activations"  # processors that multiply BF16 would round activations to it: 64 columns average little of that


FORMS = [(case.name, kind) for case in checkpoints.CASES for kind in ("published", "gguf") if kind == "published" or case.gguf]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """(case, form) → a checkpoint's path; made once."""
    made = {}

    def get(name, kind="published"):
        if (name, kind) not in made:
            folder = tmp_path_factory.mktemp("checkpoint")
            write = checkpoints.write_published if kind == "published" else checkpoints.write_gguf
            made[name, kind] = write(CASES[name], folder / (name if kind == "published" else name + ".gguf"))
        return made[name, kind]

    return get


def run(*arguments):
    done = subprocess.run([CARRONADE, "eval", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def ask(tmp_path):
    """The log-probabilities of every token, [predicted positions, vocabulary]."""

    def get(path, tokens, *options):
        file = tmp_path / "tokens.json"
        file.write_text(json.dumps(tokens))
        out = run(path, "--tokens", file, "--logprobs", checkpoints.VOCABULARY, "--kv-cache-dtype", "f32", *options)
        logprobs = np.full((len(tokens) - 1, checkpoints.VOCABULARY), np.nan)
        for line in out.splitlines():
            position = json.loads(line)
            ids, values = zip(*position["top"])
            logprobs[position["position"] - 1, list(ids)] = values
        assert np.isfinite(logprobs).all()
        return logprobs

    return get


@pytest.fixture
def embed(tmp_path):
    def get(path, texts, *options):
        file = tmp_path / "tokens.json"
        file.write_text("\n".join(map(json.dumps, texts)))
        out = run(path, "--tokens", file, "--embed", *options)
        return np.array([json.loads(line)["embedding"] for line in out.splitlines()])

    return get


def expect_golden(name, logprobs):
    golden = np.load(checkpoints.golden_file(CASES[name]))
    rows = logprobs[golden["positions"].astype(int) - 1]
    ids = golden["ids"].astype(int)
    listed = np.take_along_axis(rows, ids, axis=1)
    others = np.exp(rows)
    np.put_along_axis(others, ids, 0.0, axis=1)
    assert np.abs(listed - golden["logprobs"]).max() < NEAR
    assert np.abs(np.log(others.sum(axis=1)) - golden["rest"]).max() < NEAR


@pytest.mark.parametrize("name, kind", [f for f in FORMS if not CASES[f[0]].pooling])
def test_decoder(name, kind, model, ask):
    expect_golden(name, ask(model(name, kind), CASES[name].tokens, FLOAT))


@pytest.mark.parametrize("name, kind", [f for f in FORMS if CASES[f[0]].pooling])
def test_encoder(name, kind, model, embed):
    case = CASES[name]
    vectors = embed(model(name, kind), case.texts, FLOAT)
    assert np.abs(vectors - np.load(checkpoints.golden_file(case))["vectors"]).max() < NEAR_VECTOR


def test_reference_backend(model, ask, embed):
    """The oracle of the kernels takes the same ways."""
    expect_golden("gemma3", ask(model("gemma3"), CASES["gemma3"].tokens, "--backend", "reference"))
    vectors = embed(model("bert-mean"), CASES["bert-mean"].texts[:3], "--backend", "reference")
    assert np.abs(vectors - np.load(checkpoints.golden_file(CASES["bert-mean"]))["vectors"][:3]).max() < NEAR_VECTOR


def test_generic_instruction_set(model, ask, embed):
    """What processors without AVX2 run."""
    expect_golden("gemma3", ask(model("gemma3"), CASES["gemma3"].tokens, "--isa", "generic"))
    vectors = embed(model("bert-cls"), CASES["bert-cls"].texts, "--isa", "generic")
    assert np.abs(vectors - np.load(checkpoints.golden_file(CASES["bert-cls"]))["vectors"]).max() < NEAR_VECTOR


@pytest.mark.parametrize("name", ["qwen3-tied", "mistral", "gemma3"])
def test_activations_of_published_weights_may_be_rounded(name, model, ask):
    """To BF16, where the processor multiplies that; elsewhere they are not, and the divergence is 0."""
    tokens = CASES[name].tokens[:90]
    exact = ask(model(name), tokens, FLOAT)
    divergence = (np.exp(exact) * (exact - ask(model(name), tokens))).sum(axis=1)
    assert divergence.mean() < 2e-3


@pytest.mark.parametrize("name", ["qwen3-tied", "mistral", "gemma3"])
def test_quantized_decoder(name, tmp_path, ask):
    """Q8_0: in float the answer is the oracle's; rounding activations to 8 bits moves it a little. Measured: by 7e-3 nats at most, as random
    models of 64 columns average little; the real ones' gates are in tests/golden/fidelity."""
    path = checkpoints.write_gguf(CASES[name], tmp_path / "q8.gguf", quantize=True)
    tokens = CASES[name].tokens[:90]
    exact = ask(path, tokens, "--backend", "reference")
    assert np.abs(np.where(exact > -12, ask(path, tokens, FLOAT) - exact, 0)).max() < NEAR
    divergence = (np.exp(exact) * (exact - ask(path, tokens))).sum(axis=1)
    assert divergence.mean() < 2e-2


def test_quantized_encoder(tmp_path, embed):
    case = CASES["bert-mean"]
    path = checkpoints.write_gguf(case, tmp_path / "q8.gguf", quantize=True)
    exact = embed(path, case.texts[:3], "--backend", "reference")
    assert np.abs(embed(path, case.texts[:3], FLOAT) - exact).max() < NEAR_VECTOR
    for a, b in zip(embed(path, case.texts[:3]), exact):
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9999


@pytest.mark.parametrize("name", ["qwen2-window", "qwen3", "llama-yarn", "mistral", "gemma3"])
def test_chunks_change_no_bit(name, model, ask):
    """Printed with six decimals; chunks that end within blocks and within windows, and single tokens."""
    whole = ask(model(name), CASES[name].tokens, "--chunk", 512)
    for chunk in (1, 7, 64):
        assert (ask(model(name), CASES[name].tokens, "--chunk", chunk) == whole).all(), chunk


def modern(config):
    """The same, as transformers 5 writes it."""
    config = dict(config)
    scaling = config.pop("rope_scaling", None) or {"rope_type": "default"}
    rope = {**scaling, "rope_theta": config.pop("rope_theta")}
    if config["model_type"] == "gemma3_text":
        pattern, layers = config.pop("sliding_window_pattern"), config["num_hidden_layers"]
        local = {"rope_type": "default", "rope_theta": config.pop("rope_local_base_freq")}
        rope = {"full_attention": rope, "sliding_attention": local}
        config["layer_types"] = ["full_attention" if i % pattern == pattern - 1 else "sliding_attention" for i in range(layers)]
    return {**config, "rope_parameters": rope}


@pytest.mark.parametrize("name", ["gemma3", "gemma3-caps", "llama-yarn-given", "llama-llama3"])
def test_config_of_transformers_5(name, model, ask, tmp_path):
    folder = checkpoints.write_published(CASES[name], tmp_path / name)
    (folder / "config.json").write_text(json.dumps(modern(CASES[name].config)))
    expect_golden(name, ask(folder, CASES[name].tokens, FLOAT))


OPTIONS = [("qwen2", "qwen2-window"), ("mistral", "mistral-full"), ("gemma3", "gemma3-caps")]
OPTIONS += [("llama", case.name) for case in DECODERS if case.name.startswith("llama-")]


@pytest.mark.parametrize("plain, option", OPTIONS)
def test_the_goldens_can_tell_an_option(plain, option):
    """Cases of a family share their weights: were an option ignored, the answer would be the plain one's, which is far."""
    a, b = (np.load(checkpoints.golden_file(CASES[name])) for name in (plain, option))
    common = np.intersect1d(a["positions"], b["positions"])
    a, b = (g["logprobs"][np.isin(g["positions"], common), 0] for g in (a, b))
    assert np.abs(a - b).max() > 100 * NEAR


def test_an_unknown_architecture_is_named_with_those_supported(tmp_path):
    case = CASES["llama"]
    path = checkpoints.write_gguf(case, tmp_path / "llama.gguf")
    path.write_bytes(path.read_bytes().replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0mamba"))
    done = subprocess.run([CARRONADE, "eval", path, "--tokens", "/dev/null"], capture_output=True, text=True)
    assert done.returncode == 1
    assert '"mamba" is not supported' in done.stderr
    for name in ("qwen2", "qwen3", "llama", "mistral", "gemma3", "bert"):
        assert name in done.stderr


def test_an_encoder_writes_no_text(model, tmp_path):
    (tmp_path / "tokens.json").write_text("[1, 2, 3]")
    done = subprocess.run([CARRONADE, "eval", model("bert-mean"), "--tokens", tmp_path / "tokens.json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "vectors" in done.stderr
