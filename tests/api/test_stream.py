"""/v1/stream with the `websockets` package, as docs/websocket.md has it."""
import collections
import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request

import prometheus_client.parser
import pytest
from server import PATIENCE, Server, client_of
from test_connections import certificate  # noqa: F401
from test_thinking import r1_template  # noqa: F401
from websocket_frames import TEXT, RawWebSocket, frame
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
SUM = [{"role": "user", "content": "What is 17 plus 25?"}]
ENDLESS = {"messages": STORY, "max_tokens": 3500, "ignore_eos": True}


def address(server: Server) -> str:
    return server.url.replace("http", "ws", 1) + "/v1/stream"


@contextlib.contextmanager
def stream(server: Server, **options):
    with connect(address(server), proxy=None, **options) as socket:
        yield socket


def ask(socket, id: str | None = None, **request) -> None:
    socket.send(json.dumps({**({"id": id} if id else {}), **request}))


def receive(socket) -> dict:
    return json.loads(socket.recv(PATIENCE))


def until_end(socket, id: str | None = None) -> list[dict]:
    """Messages up to the one that ends this request, or any."""
    messages = [receive(socket)]
    while messages[-1]["type"] == "chunk" or (id and messages[-1]["id"] != id):
        messages.append(receive(socket))
    return messages


def text_of(messages: list[dict], field: str = "content") -> str:
    choices = [c for m in messages if m["type"] == "chunk" for c in m["chunk"]["choices"]]
    return "".join(c["delta"].get(field) or "" for c in choices)


def reason_of(messages: list[dict]) -> str:
    return [c["finish_reason"] for m in messages if m["type"] == "chunk" for c in m["chunk"]["choices"] if c["finish_reason"]][-1]


def chunks_over_http(server: Server, body: dict) -> list[dict]:
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return [json.loads(line[len("data: "):]) for line in reply.read().decode().splitlines() if line.startswith("data: {")]


def test_a_body_as_it_is_gets_the_chunks_of_its_stream(server):
    body = {"model": "tiny", "messages": SUM, "max_tokens": 12, "temperature": 0, "logprobs": True, "stream_options": {"include_usage": True}}
    chunks_over_http(server, {**body, "stream": True})  # from here on the prompt is cached
    over_http = chunks_over_http(server, {**body, "stream": True})
    with stream(server) as socket:
        socket.send(json.dumps(body))
        messages = until_end(socket)
    assert messages[-1]["type"] == "done" and messages[-1]["usage"] == over_http[-1]["usage"]
    assert len({m["id"] for m in messages}) == 1
    for chunk in [*over_http, *(m["chunk"] for m in messages[:-1])]:
        assert chunk.pop("id").startswith("chatcmpl-") and chunk.pop("created") > 0
    assert [m["chunk"] for m in messages[:-1]] == over_http


def test_several_at_once_interleave_and_say_what_each_says_alone(server):
    questions = {"sum": "What is 17 plus 25?", "sea": "Tell me about the sea.", "sky": "Why is the sky blue?"}
    request = {"max_tokens": 30, "temperature": 0, "ignore_eos": True}
    with stream(server) as socket:
        alone = {}
        for id, question in questions.items():
            ask(socket, id, messages=[{"role": "user", "content": question}], **request)
            alone[id] = text_of(until_end(socket))
        for id, question in questions.items():
            ask(socket, id, messages=[{"role": "user", "content": question}], **request)
        messages = collections.defaultdict(list)
        order = []
        while sum(m[-1]["type"] == "done" for m in messages.values()) < len(questions):
            message = receive(socket)
            messages[message["id"]].append(message)
            order.append(message["id"])
    assert {id: text_of(m) for id, m in messages.items()} == alone
    turns = sum(a != b for a, b in zip(order, order[1:]))
    assert turns > 2 * len(questions), order


def test_cancel_ends_one_and_leaves_the_other(server):
    with stream(server) as socket:
        ask(socket, "long", **ENDLESS)
        ask(socket, "short", messages=SUM, max_tokens=40, temperature=0, ignore_eos=True)
        while receive(socket)["id"] != "long":
            pass
        socket.send('{"type": "cancel", "id": "long"}')
        seen = until_end(socket, "long")
        assert seen[-1]["type"] == "done" and seen[-1]["usage"]["completion_tokens"] < 3500
        assert reason_of([m for m in seen if m["id"] == "long"]) == "abort"
        if not any(m["id"] == "short" and m["type"] == "done" for m in seen):
            seen += until_end(socket, "short")
        short = [m for m in seen if m["id"] == "short"]
        assert short[-1]["usage"]["completion_tokens"] == 40 and reason_of(short) == "length"
        socket.send('{"type": "cancel", "id": "long"}')  # too late, which is no error
        ask(socket, "long", messages=SUM, max_tokens=2)  # the name is free again
        assert until_end(socket)[-1]["id"] == "long"


@pytest.fixture(scope="module")
def thinker(r1_template):  # noqa: F811
    with Server("--chat-template", str(r1_template), page=False) as running:
        yield running


def test_answer_now_ends_a_thought_that_the_prompt_opened(thinker):
    with stream(thinker) as socket:
        ask(socket, "a", messages=SUM, temperature=0, max_tokens=400, ignore_eos=True)
        before = []
        while not text_of(before, "reasoning"):
            before.append(receive(socket))
        socket.send('{"type": "answer_now", "id": "a"}')
        while not text_of(before):  # it thinks for ever otherwise (test_thinking.py)
            before.append(receive(socket))
        socket.send('{"type": "cancel"}')
        messages = before + until_end(socket)
    thought = messages[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < thought < 400 and reason_of(messages) == "abort"
    assert "</think>" not in text_of(messages) + text_of(messages, "reasoning")


def test_errors_are_the_dialects_own_and_the_connection_lives(server):
    with stream(server) as socket:
        for text, id, code, param in [
            ("not JSON", None, 400, None), ('["an", "array"]', None, 400, None), ('{"type": "stop"}', None, 400, "type"),
            ('{"id": "a", "type": "cancel", "hurry": true}', "a", 400, "hurry"), ('{"id": "a"}', "a", 400, "messages"),
            (json.dumps({"id": "a", "messages": SUM, "stream": False}), "a", 400, "stream"),
            (json.dumps({"id": "a", "messages": SUM, "temprature": 1}), "a", 400, "temprature"),
            (json.dumps({"id": "a", "messages": SUM, "model": "gpt-7"}), "a", 404, "model"),
            (json.dumps({"id": "a", "messages": STORY * 2000}), "a", 400, "messages"),
        ]:
            socket.send(text)
            error = receive(socket)
            assert (error["type"], error["id"]) == ("error", id)
            assert (error["error"]["code"], error["error"]["param"]) == (code, param), error
            assert set(error["error"]) == {"message", "type", "param", "code"}
        ask(socket, messages=SUM, max_tokens=2)
        assert until_end(socket)[-1]["type"] == "done"


def test_a_key_in_a_header_or_as_browsers_send_it():
    with Server(CARRONADE_API_KEY="sesame") as server:
        for options in ({}, {"additional_headers": {"Authorization": "Bearer wrong"}}, {"subprotocols": ["openai-insecure-api-key.wrong"]}):
            with pytest.raises(InvalidStatus) as refused, stream(server, **options):
                pass
            assert refused.value.response.status_code == 401
        for options in ({"additional_headers": {"Authorization": "Bearer sesame"}},
                        {"subprotocols": ["carronade.stream.v1", "openai-insecure-api-key.sesame"]}):
            with stream(server, **options) as socket:
                assert socket.subprotocol == ("carronade.stream.v1" if "subprotocols" in options else None)
                ask(socket, messages=SUM, max_tokens=2)
                assert until_end(socket)[-1]["type"] == "done"
        server.stop()
        assert "sesame" not in "".join(server.log)


def test_a_page_of_another_origin_is_refused_and_our_own_is_not(server):
    for origin in ("http://evil.example", "null", server.page_url):
        with pytest.raises(InvalidStatus) as refused, stream(server, origin=origin):
            pass
        assert refused.value.response.status_code == 403
    with connect(server.page_url.replace("http", "ws", 1) + "/v1/stream", origin=server.page_url, proxy=None) as socket:
        ask(socket, messages=SUM, max_tokens=2)
        assert until_end(socket)[-1]["type"] == "done"


@pytest.mark.parametrize("way", ["close", "vanish"])
def test_a_client_that_goes_away_frees_the_model(server, way):
    before = server.mark()
    if way == "close":
        with stream(server) as socket:
            for id in ("a", "b"):
                ask(socket, id, **ENDLESS)
            running: set[str] = set()
            while len(running) < 2:
                running.add(receive(socket)["id"])
    else:
        with RawWebSocket(server.port) as socket:
            socket.send(frame(TEXT, json.dumps({"id": "a", **ENDLESS}).encode()), frame(TEXT, json.dumps({"id": "b", **ENDLESS}).encode()))
            socket.read()
    server.wait_for("cancelled: the client went away", before)
    server.wait_for("path=/v1/stream status=101", before)
    first = next(i for i in range(before, server.mark()) if "went away" in server.log[i])
    server.wait_for("cancelled: the client went away", first + 1)


def test_requests_and_connections_are_logged_and_counted(server):
    def counts() -> dict[tuple[str, str], float]:
        text = urllib.request.urlopen(f"{server.url}/metrics", timeout=PATIENCE).read().decode()
        samples = (s for family in prometheus_client.parser.text_string_to_metric_families(text) for s in family.samples)
        return {(s.labels["method"], s.labels["status"]): s.value for s in samples
                if s.name == "http_requests_total" and s.labels["handler"] == "/v1/stream"}

    before, mark = counts(), server.mark()
    with stream(server) as socket:
        ask(socket, messages=SUM, max_tokens=2)
        until_end(socket)
        socket.send("?")
        receive(socket)
        line = server.wait_for("method=POST path=/v1/stream status=200 .*", mark).group(0)
        assert "client=127.0.0.1" in line and "request_id=" in line
        server.wait_for("method=POST path=/v1/stream status=400", mark)
    server.wait_for("method=GET path=/v1/stream status=101", mark)
    after = counts()
    assert {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)} == {("GET", "1xx"): 1, ("POST", "2xx"): 1, ("POST", "4xx"): 1}


def test_through_tls(certificate):  # noqa: F811
    with Server("--tls-cert", str(certificate / "cert.pem"), "--tls-key", str(certificate / "key.pem"), page=False) as server:
        trust = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        with stream(server, ssl=trust, origin=server.url) as socket:
            ask(socket, "a", messages=SUM, max_tokens=20, ignore_eos=True)
            assert until_end(socket)[-1]["usage"]["completion_tokens"] == 20
            ask(socket, "b", **ENDLESS)
            receive(socket)
            before = server.mark()
        server.wait_for("cancelled: the client went away", before)


def test_the_servers_end_is_a_proper_one():
    with Server("--shutdown-timeout", "0", page=False) as server, stream(server) as idle, stream(server) as busy:
        ask(busy, "a", **ENDLESS)
        receive(busy)
        server.process.terminate()
        messages = until_end(busy)
        assert reason_of(messages) == "abort" and messages[-1]["type"] == "done"
        for socket in (idle, busy):
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(PATIENCE)
            assert closed.value.rcvd.code == 1001
        assert server.process.wait(PATIENCE) == 0


def examples(language: str) -> list[str]:
    text = open(os.path.join(os.path.dirname(__file__), "../../docs/websocket.md")).read()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_example_of_the_documentation(server):
    [program] = examples("python")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE,
                            env={**os.environ, "CARRONADE_URL": address(server)})
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert set(lines) == {"sea", "sky"} and len(lines["sea"]) > 30
    assert lines["sky"].endswith(("(abort)", "(stop)", "(length)"))


def test_the_example_for_browsers(server):
    """In Node, whose WebSocket is the browsers'."""
    [program] = examples("javascript")
    program = program.replace("ws://127.0.0.1:8000/v1/stream", address(server))
    result = subprocess.run(["node", "--experimental-websocket", "-e", program], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) > 0, result.stdout
