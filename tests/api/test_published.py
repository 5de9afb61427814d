"""A repository of safetensors as hubs publish it, served by the command line that vLLM takes."""

import json
import pathlib
import subprocess
import sys

import jinja2
import numpy as np
import pytest
import tokenizers
from server import BINARY, MODEL, PATIENCE, Server, client_of, environment

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(TESTS), str(TESTS / "hub")]
from published import Llama, publish  # noqa: E402
from stand_in import COMMIT, Blob, StandIn  # noqa: E402

QUESTION = [{"role": "user", "content": "Name three rivers in Europe, please."}]
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"


def carronade(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                          env=environment(**env))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shown = json.loads(carronade("show", MODEL, "--json").stdout)
    made = tmp_path_factory.mktemp("published")
    publish(pathlib.Path(shown["path"]), made)
    return made


@pytest.fixture(scope="module")
def hub(folder):
    stand_in = StandIn()
    for path in folder.iterdir():
        stand_in.repositories[REPOSITORY][path.name] = Blob(path.read_bytes(), lfs=path.suffix == ".safetensors")
    yield stand_in
    stand_in.close()


def prompt_tokens(folder: pathlib.Path, messages: list[dict]) -> list[int]:
    template = jinja2.Environment().from_string((folder / "chat_template.jinja").read_text())
    text = template.render(messages=messages, add_generation_prompt=True)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids


def assert_most_probable(folder: pathlib.Path, answer: str, tolerance: float) -> None:
    """Each token of a greedy answer is the most probable one, by the same weights in numpy."""
    prompt = prompt_tokens(folder, QUESTION)
    tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(answer, add_special_tokens=False).ids
    assert len(tokens) >= 12, answer
    rows = Llama(folder).logits(prompt + tokens)[len(prompt) - 1 : -1]
    missing = rows.max(-1) - rows[np.arange(len(tokens)), tokens]
    assert missing.max() <= tolerance, (answer, missing)
    assert (missing == 0).mean() >= 0.9, (answer, missing)


@pytest.fixture(scope="module")
def served(hub, tmp_path_factory):
    downloads = tmp_path_factory.mktemp("downloads")
    cache = str(tmp_path_factory.mktemp("cache"))
    arguments = ["--dtype", "bfloat16", "--revision", "main", "--download-dir", str(downloads), "--trust-remote-code"]
    command = [str(BINARY), "serve", REPOSITORY.lower(), "--port", "0", "--ui-port", "0", "--max-model-len", "512", *arguments]
    with Server(command=command, page=False, HF_ENDPOINT=hub.endpoint, NO_PROXY="*", CARRONADE_CACHE=cache) as server:
        server.downloads = downloads
        yield server


def test_the_answer_is_that_of_the_published_weights(served, folder):
    client = client_of(served)
    [model] = client.models.list().data
    assert model.id == REPOSITORY.lower()  # as it was typed
    reply = client.chat.completions.create(model=model.id, messages=QUESTION, temperature=0, max_tokens=24)
    assert reply.usage.prompt_tokens == len(prompt_tokens(folder, QUESTION))
    assert_most_probable(folder, reply.choices[0].message.content, 0.02)


def test_only_what_makes_the_model_was_fetched_and_no_code(served, hub, folder):
    [made] = [path.parent for path in served.downloads.rglob("manifest.json")]
    names = {path.name for path in made.iterdir()}
    assert names == {path.name for path in folder.iterdir()} - {"modeling_own.py"} | {"manifest.json"}
    assert not hub.requests("hub", "modeling_own.py")
    assert json.loads((made / "manifest.json").read_text())["revision"] == COMMIT
    assert any("--trust-remote-code" in line and "no code" in line for line in served.log)


def test_the_repositorys_sampling_defaults_hold(served):
    """generation_config.json's temperature of 0.7 makes two seeds differ; a request's 0 does not."""
    client = client_of(served)
    ask = lambda **more: client.chat.completions.create(model=REPOSITORY.lower(), messages=QUESTION, max_tokens=16, **more)  # noqa: E731
    assert len({ask(seed=seed).choices[0].message.content for seed in range(4)}) > 1
    assert len({ask(seed=seed, temperature=0).choices[0].message.content for seed in range(2)}) == 1


@pytest.mark.parametrize("dtype", ["auto", "float16", "float32"])
def test_a_folder_answers_the_same_in_every_dtype(folder, dtype):
    done = carronade("run", folder, "--dtype", dtype, "--temperature", "0", "--max-tokens", "16", "--json", QUESTION[0]["content"])
    assert done.returncode == 0, done.stderr
    assert_most_probable(folder, json.loads(done.stdout)["answer"], 0.05)


def test_show_tells_types_and_memory_of_a_folder(folder):
    shown = json.loads(carronade("show", folder, "--json").stdout)["checkpoint"]
    assert shown["format"] == "safetensors" and shown["architecture"] == "llama"
    assert [one["type"] for one in shown["types"]] == ["BF16"]
    assert shown["types"][0]["bytes"] == sum(path.stat().st_size for path in folder.glob("*.safetensors")) // 1000 * 1000 or shown["types"][0]["bytes"] > 2.6e8


def test_flags_that_cannot_be_are_refused_before_anything_is_fetched(folder, hub):
    for flags, said in [(["--dtype", "int4"], "--dtype must be auto"), (["--revision", "../x"], "")]:
        seen = len(hub.seen)
        done = carronade("serve", "org/none", "--port", "0", "--ui-port", "0", *flags, HF_ENDPOINT=hub.endpoint)
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert len(hub.seen) == seen
