"""llama.cpp as a peer: built from its package, with the options that suit this processor."""
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import peers  # noqa: E402

CACHE = pathlib.Path(os.environ.get("CARRONADE_CACHE") or
                     pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "carronade")


def processor_hash() -> str:
    """What GGML_NATIVE looks at: a build for one processor may not run on another."""
    told = {"model name", "flags", "Features", "CPU implementer", "CPU part"}
    lines = {line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.split(":")[0].strip() in told}
    return hashlib.sha256("\n".join([platform.machine(), *sorted(lines)]).encode()).hexdigest()[:8]


HAS_AMX = "amx_int8" in pathlib.Path("/proc/cpuinfo").read_text()
TARGETS = ["llama-bench", "llama-batched-bench", "llama-server", "llama-perplexity"]


def clang_flags() -> list[str]:
    """llama.cpp's kernels for AMX end with an illegal instruction as GCC compiles them: the shapes of tiles, which LDTILECFG reads, count as
    never read, and are not written (ggml-org/llama.cpp#26954). Clang writes them, but before version 16 calls AMX by another name."""
    if not shutil.which("clang++"):
        sys.exit("on this processor llama.cpp must be built by clang too: what GCC makes of its AMX kernels crashes. Run scripts/setup.sh bench")
    names = "-D__AMX_INT8__ -D__AMX_TILE__"
    return ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", f"-DCMAKE_C_FLAGS={names}", f"-DCMAKE_CXX_FLAGS={names}", "-DGGML_NATIVE=OFF",
            *(f"-DGGML_{each}=ON" for each in ("AVX2", "FMA", "F16C", "BMI2", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16", "AMX_TILE",
                                               "AMX_INT8", "AMX_BF16"))]


def build(folder: pathlib.Path, flags: list[str]) -> None:
    print(f"building llama.cpp into {folder}, once", file=sys.stderr)
    source = peers.llama_cpp_source()
    subprocess.run(["cmake", "-S", str(source), "-B", str(folder), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF",
                    "-DLLAMA_BUILD_TESTS=OFF", *flags], check=True, stdout=subprocess.DEVNULL)
    if "OpenMP_CXX_FLAGS:STRING=NOTFOUND" in (folder / "CMakeCache.txt").read_text():
        sys.exit(f"llama.cpp would be built without OpenMP: run scripts/setup.sh bench, remove {folder}, and try again")
    subprocess.run(["cmake", "--build", str(folder), "--target", *TARGETS], check=True, stdout=subprocess.DEVNULL)


def tool(name: str, repack: bool = True) -> str:
    """The path of one of its programs; builds them all once (about eight minutes on two cores). Where there is AMX, which `repack` uses, by
    clang; everything else as it comes, by the system's compiler for this very processor."""
    by_clang = HAS_AMX and repack
    folder = CACHE / "peers" / f"llama.cpp-{peers.LLAMA_CPP_PYTHON}-{processor_hash()}{'-clang' if by_clang else ''}"
    path = folder / "bin" / name
    if not path.exists():
        build(folder, clang_flags() if by_clang else ["-DGGML_NATIVE=ON"])
    return str(path)


def bench(model: pathlib.Path, prompt: int, generate: int, threads: int, repack: bool) -> dict[str, float]:
    """Tokens a second of one run of llama-bench: {"prefill": …, "decode": …}; it decodes behind the prompt."""
    common = [tool("llama-bench", repack), "-m", str(model), "-t", str(threads), "-r", "1", "--repack", str(int(repack)), "-o", "json"]
    if prompt > 2048:  # warms itself; a minute less
        common.append("--no-warmup")
    rows = []
    for run in [["-p", str(prompt), "-n", "0"], ["-p", "0", "-n", str(generate), "-d", str(prompt)]]:
        rows += json.loads(subprocess.run([*common, *run], check=True, capture_output=True, text=True).stdout)
    return {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in rows}


def batched_decode(model: pathlib.Path, prompt: int, generate: int, batch: int, threads: int, repack: bool) -> float:
    """Decode tokens a second, all sequences together, of llama-batched-bench."""
    command = [tool("llama-batched-bench", repack), "-m", str(model), "-t", str(threads), "-tb", str(threads), "-c",
               str(batch * (prompt + generate) + 256), "-npp", str(prompt), "-ntg", str(generate), "-npl", str(batch),
               "--output-format", "jsonl"]
    if not repack:
        command.append("--no-repack")
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return rows[-1]["speed_tg"]
