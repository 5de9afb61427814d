"""What is around a request: TLS, other origins, request ids, logs for collectors, what systemd is told."""
import json
import re
import socket
import ssl
import subprocess

import httpx2
import openai
import pytest
from server import PATIENCE, Server, client_of
from test_server import raw, run

SECRET = "the word is xylophone"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)
    return folder


def test_tls_from_start_to_end(certificate, tmp_path):
    """One server with what an operator adds: TLS as vLLM spells it, JSON logs, a service manager, one origin."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(PATIENCE)
    flags = ("--ssl-certfile", str(certificate / "cert.pem"), "--ssl-keyfile", str(certificate / "key.pem"), "--log-format", "json",
             "--allowed-origins", '["https://app.example"]')
    with Server(*flags, NOTIFY_SOCKET=str(tmp_path / "notify")) as server:
        assert server.url.startswith("https://") and server.page_url.startswith("https://")
        assert notify.recv(100) == b"READY=1"
        trust = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE,
                           http_client=httpx2.Client(verify=trust)) as client:
            messages = [{"role": "user", "content": SECRET}]
            reply = client.chat.completions.with_raw_response.create(model="tiny", messages=messages, max_tokens=5,
                                                                     extra_headers={"X-Request-Id": "mine-1", "Origin": "https://app.example"})
            assert reply.headers["x-request-id"] == "mine-1" and reply.parse().id == "chatcmpl-mine-1"
            assert reply.headers["access-control-allow-origin"] == "https://app.example"
            chunks = list(client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, stream=True))
            assert chunks[-1].choices[0].finish_reason
        with httpx2.Client(verify=trust) as client:
            forged = client.get(f"{server.url}/v1/models?key={SECRET}", headers={"X-Request-Id": "no spaces", "Origin": "https://evil.example"})
            assert re.fullmatch("[0-9a-f]{16}", forged.headers["x-request-id"])
            assert "access-control-allow-origin" not in forged.headers
            asked = client.options(f"{server.url}/v1/chat/completions", headers={
                "Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"})
            assert asked.status_code == 204 and "POST" in asked.headers["access-control-allow-methods"]
            assert asked.headers["access-control-allow-headers"] == "authorization,content-type"
        assert raw(server.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 400")
        server.wait_for('"method":"OPTIONS"')
        assert server.stop() == 0
        assert notify.recv(100) == b"STOPPING=1"
    events = [json.loads(line) for line in server.log]  # every line is an object
    requests = {event["request_id"]: event for event in events if event["message"] == "request"}
    mine = requests["mine-1"]
    assert (mine["method"], mine["path"], mine["status"], mine["client"]) == ("POST", "/v1/chat/completions", 200, "127.0.0.1")
    assert mine["bytes"] > 100 and mine["seconds"] > 0
    assert any(event["message"].startswith("mine-1: chat") for event in events)
    assert "xylophone" not in "".join(server.log)


def test_the_access_log_can_be_left_out():
    with Server("--disable-uvicorn-access-log", page=False) as server:
        client_of(server).models.list()
        server.stop()
        assert not any(" request " in line for line in server.log)


def test_each_request_is_a_line_of_text(server):
    before = server.mark()
    client_of(server).models.list()
    line = server.wait_for(" request method=GET path=/v1/models .*", before).group(0)
    assert "status=200" in line and "request_id=" in line and "client=127.0.0.1" in line


@pytest.mark.parametrize("flags,words", [
    (("--tls-cert", "CERT"), ["--tls-key"]), (("--tls-cert", "/no/such.pem", "--tls-key", "KEY"), ["/no/such.pem"]),
    (("--tls-cert", "KEY", "--tls-key", "KEY"), ["certificate"]), (("--allowed-origins", "app.example"), ["https://app.example"]),
    (("--allowed-origins", "[1]"), ["JSON"]), (("--log-format", "xml"), ["text", "json"]),
])
def test_what_is_wrong_is_said_before_anything_is_loaded(certificate, flags, words):
    names = {"CERT": str(certificate / "cert.pem"), "KEY": str(certificate / "key.pem")}
    result = run("serve", "--port", "0", "--ui-port", "0", *[names.get(flag, flag) for flag in flags])
    assert result.returncode != 0 and result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
