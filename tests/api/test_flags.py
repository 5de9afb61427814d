"""What is wrong with a command line is one line that names the flag, before anything is fetched or served."""
import subprocess

import pytest

from server import BINARY, MODEL, PATIENCE, Server, client_of, environment


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
                          env=environment(), **options)


@pytest.mark.parametrize("flag,value,words", [
    ("--api-key", "", "the key is empty"),
    ("--kv-disk", "4 Gigs", "4GiB"),
    ("--kv-cache-memory-bytes", "much", "4GiB"),
    ("--max-model-len", "25.6K", "8k"),
    ("--max-num-batched-tokens", "-4", "4096"),
    ("--speculative-config", "nonsense", "not valid JSON"),
    ("--speculative-config", '{"method": "eagle"}', "ngram"),
    ("--override-generation-config", "nonsense", "not valid JSON"),
    ("--default-chat-template-kwargs", "[1]", "an array"),
    ("--lora-modules", "x", "NAME=PATH"),
    ("--data-dir", "/proc/none", "/proc/none"),
    ("--ssl-ciphers", "ALL", "TLS"),
    ("--config", "serve.yaml", "as flags"),
])
def test_a_wrong_value_names_its_flag(flag, value, words):
    done = run("serve", "no-such-model", "--port", "0", "--ui-port", "0", flag, value)
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr and (flag in done.stderr or flag == "--data-dir"), done.stderr
    assert "the body" not in done.stderr and "internal" not in done.stderr


def test_blocks_on_disk_need_the_prefix_cache():
    done = run("serve", "no-such-model", "--port", "0", "--ui-port", "0", "--kv-disk", "1GiB", "--no-enable-prefix-caching")
    assert done.returncode != 0 and done.stderr.count("\n") == 1 and "--kv-disk" in done.stderr, done.stderr


def test_a_short_context_is_explained_where_there_is_no_server():
    done = run("run", MODEL, "Name three rivers.", "--max-model-len", "10")
    assert done.returncode == 1 and "--max-model-len" in done.stderr and "server" not in done.stderr


@pytest.mark.parametrize("arguments", [("list",), ("--help",), ("show", MODEL), ("run", MODEL, "Say hello.", "--max-tokens", "2")])
def test_output_that_does_not_fit_is_no_success(arguments):
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full)
    assert done.returncode == 1 and "not all of the output could be written" in done.stderr


@pytest.mark.parametrize("command", ["serve", "run", "pull", "list", "show", "rm", "doctor"])
def test_a_commands_help_shows_its_own_examples(command):
    text = run(command, "--help").stdout
    examples = [line for line in text.split("Example", 1)[1].splitlines() if "carronade " in line and line.startswith("  ")]
    assert examples and all(f"carronade {command}" in line for line in examples), text


def test_a_memory_budget_is_kept():
    budget = 420_000_000
    with Server("--memory-budget", "420MB", "--max-model-len", "2048", page=False) as running:
        weights, kv = running.wait_for(r"Memory +weights (\S+ \S+) · KV (\S+ \S+) = [\d,]+ tokens · \d+ users? of 2,048").groups()
        assert weights.endswith("MB") and kv.endswith("MB")
        client = client_of(running)
        for number in range(4):
            client.completions.create(model="tiny", prompt=[(number * 7919 + i * 31) % 40_000 + 20 for i in range(1500)], max_tokens=2)
        peak = next(int(line.split()[1]) * 1024 for line in open(f"/proc/{running.process.pid}/status") if line.startswith("VmHWM"))
    assert peak < budget, f"{peak / 1e6:.0f} MB"
