"""The server as an operator meets it: start, stop, refusals, hostile bytes."""
import json
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import openai
import pytest
from server import BINARY, MODEL, PATIENCE, Server, client_of, environment

STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(BINARY), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                          env=environment(**env))


def raw(port: int, data: bytes) -> bytes:
    """Send bytes, read until the server closes or has answered."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        try:
            connection.sendall(data)
            if b"Connection: close" not in data:  # who is gone by half is gone: a body that takes long to read is then left
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it may refuse before it has read everything
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=PATIENCE).status
    except urllib.error.HTTPError as error:
        return error.code


def long_stream(server: Server):
    client = client_of(server)
    stream = client.chat.completions.create(model="tiny", messages=STORY, stream=True, max_tokens=3500, extra_body={"ignore_eos": True})
    chunks = iter(stream)
    next(chunks), next(chunks)
    return chunks


def test_sigterm_ends_a_running_answer_properly():
    with Server("--shutdown-timeout", "0") as server:
        chunks = long_stream(server)
        server.process.send_signal(signal.SIGTERM)
        rest = list(chunks)  # the SDK raises if the stream breaks off
        assert rest[-1].choices[0].finish_reason == "abort"
        assert server.process.wait(PATIENCE) == 0


def test_sigint_lets_short_answers_end():
    with Server("--shutdown-timeout", "100") as server:
        stream = client_of(server).chat.completions.create(model="tiny", messages=STORY, stream=True, max_tokens=20, temperature=0)
        chunks = iter(stream)
        first = next(chunks)
        server.process.send_signal(signal.SIGINT)
        reasons = [c.choices[0].finish_reason for c in [first, *chunks]]
        assert reasons[-1] in ("stop", "length")
        assert server.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_at_once():
    with Server("--shutdown-timeout", "1000") as server:
        chunks = long_stream(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("Ending 1 running answer")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        with pytest.raises(Exception):
            list(chunks)


def test_health_and_page(server):
    assert status(f"{server.url}/health") == 200
    assert status(f"{server.page_url}/health") == 200
    with urllib.request.urlopen(server.page_url, timeout=PATIENCE) as page:
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert b"<html" in page.read()
    assert openai.OpenAI(base_url=f"{server.page_url}/v1", api_key="x").models.list().data[0].id == "tiny"
    assert status(f"{server.url}/") == 404
    assert status(f"{server.url}/health", {"Host": "evil.example"}) == 403


def test_hostile_bytes_are_refused_and_forgotten(server):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    garbage = os.urandom(1 << 20)
    cases = {
        garbage: b"400",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n": b"431",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000 + b"\r\n": b"431",
        head + b"Content-Length: 99999999999\r\n\r\n": b"413",
        head + b"Content-Length: -1\r\n\r\n": b"400",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": b"400",
        head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(garbage) + garbage: b"400",
        head + b"Connection: close\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000: b"400",
    }
    for data, code in cases.items():
        answer = raw(server.port, data)
        assert answer.startswith(b"HTTP/1.1 " + code) or (data is garbage and answer == b""), (data[:60], answer[:200])
        if answer.startswith(b"HTTP/1.1 4"):
            assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == int(answer[9:12])
    assert status(f"{server.url}/health") == 200


def test_clients_that_vanish_leave_nothing_behind(server):
    body = json.dumps({"model": "tiny", "messages": STORY, "max_tokens": 3000, "ignore_eos": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    before = server.mark()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head + body)
        # Closed without reading a byte of an answer that is not even streamed.
        server.wait_for("cancelled: the client went away", before)
        before = server.mark()


def test_a_key_is_asked_for_everywhere_but_health():
    with Server(CARRONADE_API_KEY="sesame") as server:
        assert status(f"{server.url}/health") == 200
        for base in (server.url, server.page_url):
            assert status(f"{base}/v1/models") == 401
            assert status(f"{base}/v1/models", {"Authorization": "Bearer sesame"}) == 200
        with pytest.raises(openai.AuthenticationError):
            client_of(server).models.list()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sesame") as client:
            assert client.models.list().data


def test_flags_as_vllm_writes_them():
    with Server("--max_model_len=0.5k", "-tp", "1", "--gpu-memory-utilization 0.9", "--dtype", "auto", "--trust-remote-code", "--enforce_eager") as server:
        assert client_of(server).models.list().data[0].max_model_len == 500
        log = "".join(server.log)
        assert "--gpu-memory-utilization has no effect" in log and "--trust-remote-code has no effect" in log
        assert "--dtype has no effect" not in log


def test_an_open_address_without_a_key_is_warned_about():
    with Server("--host", "0.0.0.0", page=False) as server:
        assert any("WARNING" in line and "0.0.0.0" in line for line in server.log)
        assert status(f"{server.url}/health", {"Host": "any.example"}) == 200


def test_a_busy_port_is_one_line_with_the_remedy(server):
    result = run("serve", MODEL, "--port", str(server.port), "--ui-port", "0")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "in use" in result.stderr and "--port" in result.stderr


def test_a_missing_model_is_one_line_with_the_remedy():
    result = run("serve", "smollm2-135n", "--port", "0", "--ui-port", "0", "--log-level", "error")
    assert result.returncode == 1 and "smollm2-135m" in result.stderr
    result = run("serve", "./no/such/file.gguf", "--port", "0", "--ui-port", "0")
    assert result.returncode == 1 and "no/such/file.gguf" in result.stderr


@pytest.mark.parametrize("arguments,word", [
    (("srve",), "serve"), (("serve", "--prot", "1"), "--port"), (("serve", "--max-modellen", "1"), "--max-model-len"),
    (("run", "--temprature", "1"), "--temperature"), (("serve", "--port", "x"), "--port"), (("serve", "--port", "70000"), "65535"),
])
def test_a_misspelling_is_told_the_nearest(arguments, word):
    result = run(*arguments)
    assert result.returncode != 0 and word in result.stderr and result.stderr.count("\n") == 1


def test_help_and_version():
    assert run("--version").stdout.startswith("carronade ")
    for arguments in ((), ("--help",), ("serve", "--help"), ("run", "--help")):
        result = run(*arguments)
        assert result.returncode == 0 and "Examples:" in result.stdout


def test_kubernetes_port_variable_is_explained():
    result = run("serve", MODEL, VLLM_PORT="tcp://10.0.0.1:8000")
    assert result.returncode == 1 and "VLLM_PORT" in result.stderr


def test_many_idle_connections(server):
    connections = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(200)]
    try:
        assert status(f"{server.url}/health") == 200
    finally:
        for connection in connections:
            connection.close()


def test_health_answers_while_the_model_computes(server):
    chunks = long_stream(server)
    answered = threading.Event()
    threading.Thread(target=lambda: status(f"{server.url}/health") == 200 and answered.set()).start()
    assert answered.wait(PATIENCE)
    chunks.close()
