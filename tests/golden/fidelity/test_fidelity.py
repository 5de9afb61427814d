"""How close the program's answers are to the model's own: the gates. The oracle is transformers in float32 on the same de-quantized weights;
make_goldens.py made its answers, goldens.py says what is measured.

CARRONADE_FIDELITY_FULL=1 runs every form over all positions (some minutes); otherwise the slow ones see fewer.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

import goldens
import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(ROOT / "bench" / "peers"))
import bf16  # noqa: E402

PROGRAM = ROOT / os.environ.get("CARRONADE_BUILD", "build/release") / "carronade"
OTHER_MACHINES = {"i8mm", "dotprod"} if platform.machine() == "x86_64" else {"amx", "avx512_bf16", "avx512", "avx2"}
FULL = os.environ.get("CARRONADE_FIDELITY_FULL") == "1"
MODELS = ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]


def run(*arguments, status=0, isa=None):
    environment = {**os.environ, "CARRONADE_ISA": isa} if isa else None
    done = subprocess.run([PROGRAM, "eval", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env=environment)
    assert done.returncode == status, done.stderr
    return done


def find(model):
    """The model's file, or skips; with CARRONADE_REQUIRE_MODELS a missing model is a failure."""
    folder = os.environ.get("CARRONADE_TEST_MODELS")
    if folder and (pathlib.Path(folder) / f"{model}.gguf").exists():
        return pathlib.Path(folder) / f"{model}.gguf"
    listed = subprocess.run([PROGRAM, "list", "--json"], capture_output=True, text=True, check=True)
    for entry in json.loads(listed.stdout)["installed"]:
        if entry["name"] == model:
            return pathlib.Path(entry["path"])
    assert not os.environ.get("CARRONADE_REQUIRE_MODELS"), f"{model} is not there"
    pytest.skip(f"{model} is neither in CARRONADE_TEST_MODELS nor installed")


def compare(model, positions, *flags, isa=None, file=None):
    """The summary over at most `positions` tokens (None: all); of `file`, if given, in the model's place."""
    fewer = [] if positions is None or FULL else ["--positions", positions]
    result = json.loads(run(file or find(model), "--compare", HERE / f"{model}.logprobs", "--json", *fewer, *flags, isa=isa).stdout)
    golden = goldens.read(HERE / f"{model}.logprobs")
    assert result["positions"] == (min(positions, golden.positions) if fewer else golden.positions)
    print(model, *flags, {key: value for key, value in result.items() if key != "sequences"})
    return result


def compare_on(isa, positions, *flags, model="smollm2-135m", file=None):
    """A model's summary on an instruction set, or skips where the processor lacks it."""
    file = file or find(model)
    try:
        result = compare(model, positions, *flags, isa=isa, file=file)
    except AssertionError as error:
        if "this processor lacks the instruction set" in str(error) or isa in OTHER_MACHINES and "unknown instruction set" in str(error):
            pytest.skip(f"this processor has no {isa}")
        raise
    assert result["isa"] == isa
    return result


@pytest.mark.parametrize(("model", "positions"), [("smollm2-135m", None), ("qwen2.5-coder-0.5b", None), ("qwen2.5-coder-1.5b", 96)])
def test_float_activations_give_the_models_own_answers(model, positions):
    result = compare(model, positions, "--float-activations")
    assert result["mean_kl"] <= 1e-4  # with KV in F16, so that this is its gate too
    assert result["same_top"] >= 0.995
    assert abs(result["perplexity_ratio"] - 1) <= 1e-3


def test_with_a_float_kv_cache_only_the_order_of_sums_differs():
    result = compare("smollm2-135m", 400, "--float-activations", "--kv-cache-dtype", "f32")
    assert result["mean_kl"] <= 1e-7
    assert result["max_kl"] <= 1e-6


@pytest.mark.parametrize(("model", "most"), [("smollm2-135m", 5e-3), ("qwen2.5-coder-0.5b", 2e-3), ("qwen2.5-coder-1.5b", 2e-3)])
def test_int8_activations_stay_close(model, most):
    result = compare(model, None)
    assert result["mean_kl"] <= most
    assert result["same_top"] >= 0.95


@pytest.mark.parametrize("isa", ["amx", "avx512_bf16", "avx512", "avx2", "i8mm", "dotprod"])
def test_every_instruction_set_stays_as_close(isa):
    """generic has the same arithmetic and takes minutes; the unit tests hold it against the others."""
    result = compare_on(isa, 200)
    assert result["mean_kl"] <= 5e-3
    assert result["same_top"] >= 0.94


@pytest.mark.parametrize("isa", ["amx", "avx512_bf16", "avx512", "avx2"])
def test_every_instruction_set_stays_as_close_with_the_k_types(isa):
    """The 0.5B has Q4_K, Q6_K, Q5_0 and Q8_0, SmolLM2 nothing but Q4_1."""
    result = compare_on(isa, 96, model="qwen2.5-coder-0.5b")
    assert result["mean_kl"] <= 2e-3
    assert result["same_top"] >= 0.94


@pytest.fixture(scope="module")
def written_in_bf16(tmp_path_factory):
    path = tmp_path_factory.mktemp("bf16") / "smollm2-135m.gguf"
    bf16.write(find("smollm2-135m"), path)
    yield path
    path.unlink()


@pytest.mark.parametrize(("flags", "most"), [(["--float-activations"], 1.5e-4), ([], 4e-4)])
@pytest.mark.parametrize("isa", ["amx", "avx512_bf16", "avx512", "avx2"])
def test_weights_in_bf16_stay_close(written_in_bf16, isa, flags, most):
    """The oracle has the weights before they were rounded to BF16: of 6.7e-5 that is all. Where the processor multiplies BF16, activations are too."""
    result = compare_on(isa, 400, *flags, file=written_in_bf16)
    assert 1e-6 <= result["mean_kl"] <= most  # 0 would say that the weights were not these
    assert result["same_top"] >= 0.98


@pytest.mark.parametrize(("model", "most"), [("smollm2-135m", 5e-3), ("qwen2.5-coder-0.5b", 3e-3), ("qwen2.5-coder-1.5b", 2e-3)])
def test_a_q8_cache_stays_close(model, most):
    """llama.cpp's is 3.6e-3, 8.8e-3 and 4.8e-2 from the oracle with the same cache."""
    result = compare(model, 400, "--kv-cache-dtype", "q8_0")
    assert result["mean_kl"] <= most
    assert result["same_top"] >= 0.95


@pytest.mark.parametrize("model", MODELS)
def test_the_goldens_are_whole(model):
    golden = goldens.read(HERE / f"{model}.logprobs")
    assert golden.positions >= (2000 if model.startswith("smollm2") else 256)
    assert golden.tokens.shape[1] == 128
    assert golden.names == ["english", "chinese", "code", "mathematics"]
    assert (np.diff(golden.logprobs, axis=1) <= 0).all()
    mass = np.exp(golden.logprobs).sum(axis=1) + np.exp(golden.rest)
    assert np.abs(mass - 1).max() < 3e-4  # each was rounded by at most 1/4096 of itself


def test_what_the_program_says_of_a_position_is_what_it_counts():
    """The lines of --logprobs, held against the golden here, give the program's own summary."""
    model = find("smollm2-135m")
    path = HERE / "smollm2-135m.logprobs"
    lines = [json.loads(line) for line in run(model, "--compare", path, "--positions", 20, "--logprobs", 49152, "--json").stdout.splitlines()]
    summary = lines.pop()
    golden = goldens.read(path)
    first = np.cumsum([0] + [len(sequence) - 1 for sequence in golden.sequences])
    divergences, same = [], 0
    for line in lines:
        at = first[line["sequence"]] + line["position"] - 1
        assert line["rest"] is None  # all of the vocabulary is listed
        logprobs = np.zeros(49152)
        ids, values = zip(*line["top"])
        logprobs[list(ids)] = values
        tokens = golden.tokens[at]
        p = np.exp(np.append(golden.logprobs[at], golden.rest[at]))
        p /= p.sum()
        others = np.delete(logprobs, tokens)
        q = np.append(logprobs[tokens], np.log(np.exp(others).sum()))
        divergences.append((p * (np.log(p) - q)).sum())
        assert line["kl"] == pytest.approx(divergences[-1], rel=1e-2, abs=1e-5)
        assert line["logprob"] == pytest.approx(logprobs[line["token"]], abs=1e-5)
        same += line["top"][0][0] == tokens[0]
    assert len(lines) == summary["positions"] == 20
    assert summary["mean_kl"] == pytest.approx(np.mean(divergences), rel=1e-2)
    assert summary["same_top"] == pytest.approx(same / 20)
    assert summary["perplexity"] == pytest.approx(np.exp(-np.mean([line["logprob"] for line in lines])), rel=1e-4)


def test_text_comes_from_a_file_or_standard_input_and_its_pieces_do_not_know_each_other(tmp_path):
    model = find("smollm2-135m")
    text = (HERE / "text" / "english.txt").read_text(encoding="utf-8")
    (tmp_path / "text").write_text(text, encoding="utf-8")
    whole = json.loads(run(model, "--text", tmp_path / "text", "--context", 128, "--json").stdout)
    piped = subprocess.run([PROGRAM, "eval", str(model), "--context", "128", "--chunk", "17", "--json"], input=text, capture_output=True,
                           text=True, check=True)
    piped = json.loads(piped.stdout)
    for result in (whole, piped):
        del result["seconds"]
    assert whole == piped
    tokens = [json.loads(line) for line in run(model, "--text", tmp_path / "text", "--context", 128, "--logprobs", 0).stdout.splitlines()]
    assert [line["position"] for line in tokens][:127] == list(range(1, 128))
    assert tokens[127]["sequence"] == 1 and tokens[127]["position"] == 1
    assert whole["positions"] == len(tokens)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tokens", "missing.json"], "missing.json"),
        (["--kv-cache-dtype", "fp8", "--text", "missing.txt"], "--kv-cache-dtype fp8 is not supported"),
        (["--compare", str(HERE / "goldens.py")], "not a golden"),
        (["--text", "a", "--tokens", "b"], "--text"),
    ],
)
def test_what_cannot_be_is_one_line(flags, says):
    done = subprocess.run([PROGRAM, "eval", str(find("smollm2-135m")), *flags], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode in (1, 2)
    assert says in done.stderr and done.stderr.count("\n") == 1
