"""`carronade show` and `carronade doctor`, as people and scripts read them."""
import json
import os
import socket
import subprocess
import time

import pytest
from server import BINARY, MODEL, PATIENCE, environment


def carronade(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                          env=environment(**env))


def test_show_adds_up():
    shown = json.loads(carronade("show", MODEL, "--json", "--metadata").stdout)
    checkpoint = shown["checkpoint"]
    assert checkpoint["architecture"] == "llama" and checkpoint["supported"]
    assert sum(one["parameters"] for one in checkpoint["types"]) == checkpoint["parameters"]
    stored, weights = sum(one["bytes"] for one in checkpoint["types"]), checkpoint["memory"]["weights"]
    assert stored < checkpoint["file_bytes"]
    assert stored <= weights < 1.05 * stored  # Q4_1 is held almost as it is stored
    heads, layers = checkpoint["kv_heads"], checkpoint["layers"]
    per_token = 2 * 2 * layers * heads * checkpoint["hidden"] // checkpoint["heads"]  # keys and values, two bytes each
    assert checkpoint["memory"]["kv_per_token"] == per_token
    assert checkpoint["memory"]["at_tokens"]["4096"] == weights + 4096 * per_token
    assert shown["metadata"]["llama.block_count"] == layers
    if "catalogue" in shown:
        assert shown["catalogue"]["licence"]


def test_show_prints_the_template_alone():
    template = carronade("show", MODEL, "--template").stdout
    assert template.startswith("{%") and "im_start" in template
    assert str(len(template.rstrip("\n").encode())) in carronade("show", MODEL).stdout.split("Chat template")[1]


def test_show_names_types_memory_and_licence_for_people():
    text = carronade("show", MODEL).stdout
    for word in ("Licence", "Q4_1", "tensors", "Memory", "with a conversation of 4096 tokens", "Tokenizer"):
        assert word in text, text
    assert "llama.block_count" in carronade("show", MODEL, "--metadata").stdout


@pytest.mark.parametrize("model", ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"])
def test_loading_takes_little_more_memory_than_the_file(model):
    """Weights are re-packed as the file is read, and its pages let go behind that."""
    installed = {entry["name"]: entry for entry in json.loads(carronade("list", "--json").stdout)["installed"]}
    if model not in installed:
        assert not os.environ.get("CARRONADE_REQUIRE_MODELS"), f"{model} is not there"
        pytest.skip(f"{model} is not installed")
    measured = json.loads(carronade("bench", model, "--prompt", 16, "--generate", 2, "--threads", 2, "--json").stdout)
    file_bytes = json.loads(carronade("show", model, "--json").stdout)["checkpoint"]["file_bytes"]
    assert file_bytes < measured["peak_rss_bytes"] < file_bytes + 100e6


def test_what_is_not_installed_says_how_to_get_it():
    done = carronade("show", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B")
    assert done.returncode == 1 and "deepseek-r1-distill-qwen-1.5b is the same model in Q4_K_M" in done.stderr


@pytest.fixture(scope="module")
def report():
    done = carronade("doctor", "--offline", "--json")
    return json.loads(done.stdout)


def test_doctor_measures_and_judges(report):
    assert report["processor"]["usable"] >= 1 and report["memory"]["available"] <= report["memory"]["bytes"]
    assert report["memory"]["bandwidth"] > 1e8
    subjects = {one["subject"] for one in report["findings"]}
    assert {"Processor", "Cores", "Memory", "Huge pages", "Bandwidth", "Models", "Data", "API port", "Page port", "Hubs"} <= subjects
    for one in report["findings"]:
        assert (one["state"] == "good") == (one["remedy"] is None) or one["subject"] == "Bandwidth", one


def test_doctor_says_what_fits(report):
    models = {one["name"]: one for one in report["models"]}
    assert {"deepseek-r1-distill-qwen-1.5b", "smollm2-135m"} <= set(models)
    for one in models.values():
        assert one["tokens_per_second"] == pytest.approx(report["memory"]["bandwidth"] / one["weights"])
    small, large = models["smollm2-135m"], models["deepseek-r1-distill-qwen-1.5b"]
    assert small["kv_per_user"] == 4096 * 23040 and large["kv_per_user"] == 4096 * 28672
    assert small["users"] >= large["users"]


def test_doctor_ends_soon_where_hubs_do_not_answer():
    """An address that takes connections and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        done = carronade("doctor", "--json", HF_ENDPOINT=address, MODELSCOPE_DOMAIN=address, NO_PROXY="*")
        assert time.monotonic() - started < 60  # three seconds, and a busy machine's delays
    [*_, last] = [one for one in json.loads(done.stdout)["findings"] if one["subject"] == "Hub"]
    assert last["state"] == "warning" and "HF_ENDPOINT" in last["remedy"]


def test_doctor_refuses_an_instruction_set_that_is_not_here():
    done = carronade("doctor", "--offline", CARRONADE_ISA="pentium")
    assert done.returncode == 1
    assert "CARRONADE_ISA asks for pentium" in done.stdout


def test_doctor_names_the_remedy_of_what_is_wrong(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        (tmp_path / "file").write_text("in the way")
        done = carronade("doctor", "--offline", "--download-dir", tmp_path / "file" / "models", VLLM_PORT=str(port))
    assert done.returncode == 1
    assert f"{port} is in use" in done.stdout and f"--port {port + 1}" in done.stdout
    assert "models cannot be written" in done.stdout and "--download-dir" in done.stdout
