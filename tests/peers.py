"""Files of other projects that tests and benchmarks compare with; fetched when needed, kept in the cache folder, never committed."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

LLAMA_CPP_PYTHON = "0.3.36"
LLAMA_CPP_PYTHON_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"


def cache_folder():
    """Where downloads of all tests live: $CARRONADE_CACHE, or the user's cache folder."""
    base = os.environ.get("CARRONADE_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "carronade")
    return pathlib.Path(base)


@contextlib.contextmanager
def locked(path):
    """One process at a time makes what `path` names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(str(path) + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pip_download(requirement, folder, *options):
    """One package, without what it depends on; returns the file."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "-d", str(folder), *options]
    subprocess.run([*command, requirement], check=True)
    return max(pathlib.Path(folder).iterdir(), key=lambda path: path.stat().st_mtime)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def llama_cpp_source():
    """The folder of llama.cpp's source, as the source archive of llama-cpp-python carries it."""
    folder = cache_folder() / "peers" / f"llama_cpp_python-{LLAMA_CPP_PYTHON}"
    with locked(folder):
        if not (folder / "vendor").is_dir():
            work = folder.with_name(folder.name + ".part")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            requirements = work / "requirements.txt"
            requirements.write_text(
                f"llama-cpp-python=={LLAMA_CPP_PYTHON} --hash=sha256:{LLAMA_CPP_PYTHON_SHA256}\n", encoding="utf-8"
            )
            # --require-hashes takes requirements from files only; pip checks the archive against the hash.
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
            subprocess.run([*command, "--require-hashes", "-r", str(requirements), "-d", str(work)], check=True)
            (archive,) = work.glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(work, filter="data")
            (work / f"llama_cpp_python-{LLAMA_CPP_PYTHON}").rename(folder)
            shutil.rmtree(work)
    return folder / "vendor" / "llama.cpp"
