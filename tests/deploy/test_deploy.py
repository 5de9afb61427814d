"""The compose files mean what they mean to those who use vLLM and Open WebUI today: the program starts with exactly their arguments.

The model comes from a hub stand-in on loopback that serves the small test model under the repository's name.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests/hub")]
from published import publish  # noqa: E402
from stand_in import Blob, StandIn  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CARRONADE_BUILD", ROOT / "build/release"))
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
REPOSITORY = "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF"
FILE = "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"


def only_service(name: str) -> dict:
    services = yaml.safe_load((ROOT / "deploy" / name).read_text())["services"]
    assert len(services) == 1
    return next(iter(services.values()))


def dockerfile_json(instruction: str) -> list[str]:
    return json.loads(re.search(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.M).group(1))


def dockerfile_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in re.findall(r"^ENV (.*)$", DOCKERFILE, re.M) for pair in line.split())


@pytest.fixture(scope="module")
def small_model() -> pathlib.Path:
    shown = subprocess.run([BUILD / "carronade", "show", "smollm2-135m", "--json"], capture_output=True, text=True, check=True)
    return pathlib.Path(json.loads(shown.stdout)["path"])


@pytest.fixture(scope="module")
def published(small_model, tmp_path_factory) -> dict[str, Blob]:
    """The same weights as safetensors: what a repository's own name means."""
    folder = tmp_path_factory.mktemp("published")
    publish(small_model, folder)
    return {path.name: Blob(path.read_bytes(), lfs=path.suffix == ".safetensors") for path in folder.iterdir()}


@pytest.fixture
def hub(small_model, published):
    stand_in = StandIn()
    stand_in.repositories[REPOSITORY][FILE] = Blob(small_model.read_bytes())
    stand_in.repositories["deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"] = published
    yield stand_in
    stand_in.close()


class Container:
    """What `docker compose up` would start: the image's entry point, environment and volumes, with folders of ours for the volumes."""

    def __init__(self, service: dict, folder: pathlib.Path, hub: StandIn):
        folders = {}
        for volume in service["volumes"]:
            source, target = volume.split(":")
            folders[target] = str(folder / source)
            (folder / source).mkdir()
        self.folders = folders

        def mapped(word: str) -> str:
            return folders.get(word, word)

        entry, *arguments = dockerfile_json("ENTRYPOINT")
        assert entry == "carronade"
        if "/data" not in folders:
            folders["/data"] = str(folder / "anonymous")
        command = [str(BUILD / "carronade"), *map(mapped, arguments), *map(mapped, shlex.split(service["command"]))]
        environment = {key: mapped(value) for key, value in dockerfile_environment().items()}
        self.log = folder / "log"
        self.process = subprocess.Popen(command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env={
            "PATH": os.environ["PATH"], "HOME": str(folder), **environment, "HF_ENDPOINT": hub.endpoint, "NO_PROXY": "*"})

    def get(self, port: int, path: str) -> bytes:
        """The answer once the program is up; fails when it ends instead."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read()
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path, hub):
    started = []

    def begin(name: str) -> Container:
        started.append(Container(only_service(name), tmp_path, hub))
        return started[-1]

    yield begin
    for container in started:
        if container.process.poll() is None:
            container.process.kill()
            container.process.wait()


def published_ports(name: str) -> set[int]:
    return {int(port.split(":")[-1]) for port in only_service(name)["ports"]}


def test_the_api_service_answers_under_the_name_it_was_given(start):
    container = start("compose.api.yaml")
    assert published_ports("compose.api.yaml") == {8000}
    container.get(8000, "/health")
    model = json.loads(container.get(8000, "/v1/models"))["data"][0]
    assert model["id"] == "deepseek-ai/deepseek-r1-distill-qwen-1.5b"
    assert model["max_model_len"] == 4096
    request = urllib.request.Request("http://127.0.0.1:8000/v1/chat/completions", method="POST", headers={"Content-Type": "application/json"},
                                     data=json.dumps({"model": model["id"], "max_tokens": 4,
                                                      "messages": [{"role": "user", "content": "Say hello."}]}).encode())
    answer = json.loads(urllib.request.urlopen(request, timeout=120).read())
    assert answer["choices"][0]["message"]["content"].strip()
    assert container.stop() == 0


def test_the_page_service_serves_the_page_and_keeps_its_model(start):
    container = start("compose.page.yaml")
    assert published_ports("compose.page.yaml") == {7860, 8000}
    container.get(7860, "/health")
    assert b"<html" in container.get(7860, "/").lower()
    kept = list(pathlib.Path(container.folders["/cache"]).rglob("*.gguf"))
    assert [path.name for path in kept] == [FILE]
    assert container.stop() == 0


def test_compose_files_are_a_few_lines():
    for name in ("compose.api.yaml", "compose.page.yaml"):
        assert len((ROOT / "deploy" / name).read_text().splitlines()) <= 15


def test_the_api_service_has_the_arguments_people_run_vllm_with():
    words = shlex.split(only_service("compose.api.yaml")["command"])
    usual = ("--model deepseek-ai/deepseek-r1-distill-qwen-1.5b --dtype auto --gpu-memory-utilization 0.9 "
             "--max-model-len 4096 --trust-remote-code").split()
    assert words[:len(usual)] == usual


def test_the_image_brings_every_library_the_program_needs():
    """Each shared library is in the base image or in a package that the Dockerfile installs, or that one of those depends on."""
    if not shutil.which("dpkg-query"):
        pytest.skip("not a Debian system")
    needed = re.findall(r"=> (/\S+)", subprocess.run(["ldd", BUILD / "carronade"], capture_output=True, text=True, check=True).stdout)
    named = re.findall(r"\blib[a-z0-9.+-]+", DOCKERFILE.split("FROM debian:12-slim")[1])
    tree = subprocess.run(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                           "--no-replaces", "--no-enhances", *[n for n in named if "/" not in n]], capture_output=True, text=True)
    available = set(re.findall(r"^(\S+)$", tree.stdout, re.M))
    for library in needed:
        real = os.path.realpath(library)
        owner = subprocess.run(["dpkg-query", "-S", real], capture_output=True, text=True)
        if owner.returncode:  # dpkg knows it by its path before /usr was merged
            owner = subprocess.run(["dpkg-query", "-S", real.replace("/usr", "", 1)], capture_output=True, text=True, check=True)
        package = owner.stdout.split(":")[0]
        assert package in available, f"{library} comes from {package}, which the Dockerfile does not install"


def test_the_systemd_unit_starts_the_program_as_it_says(small_model, tmp_path):
    """The unit's own command line, with the folder and the socket that systemd would give it."""
    unit = (ROOT / "deploy/carronade.service").read_text()
    start = re.search(r"^ExecStart=(.*)$", unit, re.M).group(1)
    assert re.search(r"^Type=notify$", unit, re.M)
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M).group(1))
    assert stop > 30 + 10  # --shutdown-timeout, and what answers get to write their end
    words = [word.replace("${STATE_DIRECTORY}", str(tmp_path / "state")) for word in shlex.split(start)]
    assert words[0].endswith("/carronade")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(120)
    process = subprocess.Popen([BUILD / "carronade", *words[1:], "--model", small_model, "--port", "0", "--ui-port", "0"],
                               stderr=subprocess.PIPE, text=True,
                               env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        assert notify.recv(100) == b"READY=1"
        process.terminate()
        lines = process.communicate(timeout=120)[1].splitlines()
        assert process.returncode == 0
        assert all(json.loads(line)["message"] for line in lines)
        assert notify.recv(100) == b"STOPPING=1"
        assert (tmp_path / "state/carronade.db").exists()
    finally:
        process.kill()
        process.wait()
