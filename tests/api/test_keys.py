"""API keys as an operator makes them: while the server runs, limited, revoked, counted over a restart."""
import contextlib
import json
import pathlib
import sqlite3
import time

import openai
import pytest
from server import BINARY, MODEL, PATIENCE, Server
from test_server import run, status

QUESTION = [{"role": "user", "content": "Say hello."}]


class Keys:
    """`carronade key` on a data folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        result = run("key", *arguments, "--data-dir", str(self.folder))
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def list(self) -> dict[str, dict]:
        return {key["name"]: key for key in json.loads(self("list", "--json"))}


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "data")


def serve(keys: Keys, *arguments: str, **more) -> Server:
    return Server("--data-dir", str(keys.folder), *arguments, page=False, **more)


def until(wanted, get) -> None:
    deadline = time.monotonic() + PATIENCE
    while get() != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextlib.contextmanager
def client_with(server: Server, token: str, **changes):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=token, timeout=PATIENCE, **{"max_retries": 0, **changes}) as client:
        yield client


def ask(client: openai.OpenAI, **more):
    return client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=8, temperature=0, **more)


def test_keys_come_and_go_while_the_server_runs(keys):
    with serve(keys) as server:
        models = f"{server.url}/v1/models"
        assert status(models) == 200
        alice, bob = keys("add", "alice"), keys("add", "bob", "--scope", "chat,admin", "--expires", "30d")
        assert alice.startswith("ck-") and len(alice) == 46 and alice != bob
        until(401, lambda: status(models))
        until(200, lambda: status(models, bearer(bob)))
        assert status(models, bearer(alice)) == 200
        assert status(f"{server.url}/health") == 200
        with client_with(server, alice) as client:
            assert ask(client).choices[0].message.content
        keys("revoke", "alice")
        until(401, lambda: status(models, bearer(alice)))
        assert status(models, bearer(bob)) == 200
        keys("revoke", "bob")
        until(401, lambda: status(models, bearer(bob)))
        assert status(models) == 401  # without a key left it does not open
    assert keys.list() == {}
    shown = run("key", "list", "--all", "--data-dir", str(keys.folder)).stdout
    assert "alice" in shown and "revoked" in shown and alice not in shown
    for file in keys.folder.glob("carronade.db*"):
        assert file.stat().st_mode & 0o777 == 0o600
        assert alice.encode() not in file.read_bytes()


def test_limits_are_told_and_held(keys):
    token = keys("add", "bot", "--requests-per-minute", "2", "--tokens-per-minute", "50k")
    with serve(keys) as server, client_with(server, token) as client:
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=QUESTION, max_tokens=4)
        assert raw.headers["x-ratelimit-limit-requests"] == "2" and raw.headers["x-ratelimit-remaining-requests"] == "1"
        assert raw.headers["x-ratelimit-limit-tokens"] == "50000"
        assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
        ask(client)
        with pytest.raises(openai.RateLimitError) as refused:
            ask(client)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        assert "bot" in refused.value.message and "requests" in refused.value.message
        client.models.list()  # is not counted


def test_a_quota_holds_over_a_crash(keys):
    token = keys("add", "bot", "--quota", "60")
    with serve(keys) as server, client_with(server, token) as client:
        used = ask(client).usage
        until(used.prompt_tokens + used.completion_tokens,
              lambda: sum(keys.list()["bot"]["today"][name] for name in ("prompt_tokens", "completion_tokens")))
        server.process.kill()
        server.process.wait()
    with serve(keys) as server, client_with(server, token, max_retries=5) as client:
        with pytest.raises(openai.RateLimitError) as refused:  # at once, although this client would try again
            for _ in range(60):
                ask(client)
        assert "a day" in refused.value.message
    assert keys.list()["bot"]["today"]["requests"] >= 1


def test_keys_of_the_command_line_work_beside(keys):
    token = keys("add", "alice")
    with serve(keys, "--api-key", "first", "--api-key", "second") as server:
        for good in (token, "first", "second"):
            assert status(f"{server.url}/v1/models", bearer(good)) == 200
        for bad in ("third", "first second", ""):
            assert status(f"{server.url}/v1/models", bearer(bad)) == 401
    # vLLM's way of giving several.
    with Server(command=[*server_command(), "--api-key", "first", "second", "--data-dir", str(keys.folder)], page=False) as server:
        for good in ("first", "second"):
            assert status(f"{server.url}/v1/models", bearer(good)) == 200


def server_command() -> list[str]:
    return [str(BINARY), "serve", MODEL, "--port", "0", "--ui-port", "0", "--served-model-name", "tiny"]


def test_an_open_address_with_a_key_is_not_warned_about(keys):
    keys("add", "alice")
    with serve(keys, "--host", "0.0.0.0") as server:
        assert not any("WARNING" in line for line in server.log)
        assert status(f"http://127.0.0.1:{server.port}/v1/models") == 401


@pytest.mark.parametrize("arguments,words", [
    (("add",), ["name"]), (("add", "x", "--scope", "root"), ["chat", "admin"]), (("add", "x", "--quota", "0"), ["--quota"]),
    (("add", "x", "--expires", "1999-01-01"), ["over"]), (("add", "a\nb"), ["name"]), (("revoke", "x"), ["no key named x", "alice"]),
    (("add", "alice"), ["revoke"]), (("add", "x", "--qota", "5"), ["--quota"]),
])
def test_what_is_wrong_is_one_line(keys, arguments, words):
    keys("add", "alice")
    result = run("key", *arguments, "--data-dir", str(keys.folder))
    assert result.returncode != 0 and result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert list(keys.list()) == ["alice"]


def test_a_damaged_or_newer_store_is_refused(keys):
    keys("add", "alice")
    database = keys.folder / "carronade.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO migrations VALUES (999, 'from the future', 0)")
        connection.commit()
    result = run("serve", MODEL, "--port", "0", "--ui-port", "0", "--data-dir", str(keys.folder))
    assert result.returncode == 1 and "newer version" in result.stderr
    for file in keys.folder.glob("carronade.db*"):
        file.write_bytes(b"garbage" * 1000)
    result = run("serve", MODEL, "--port", "0", "--ui-port", "0", "--data-dir", str(keys.folder))
    assert result.returncode == 1 and "damaged" in result.stderr and str(database) in result.stderr


def test_forgotten_keys_leave_an_open_server(keys):
    keys("add", "alice")
    keys("revoke", "alice", "--forget")
    with serve(keys) as server:
        assert status(f"{server.url}/v1/models") == 200
