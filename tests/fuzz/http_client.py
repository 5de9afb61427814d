#!/usr/bin/env python3
"""Sends the server requests that went wrong on their way: bytes changed, cut, doubled and mixed, lengths that lie, bodies whose fields are
not what they should be, connections that stall, vanish or talk out of turn. The server must answer nothing but proper HTTP with a status
below 500 (or 503), stay up, forget every connection, and end well.

    tests/fuzz/http_client.py --seconds 600 --seed 1        # the program of $CARRONADE_BUILD; for sanitizers build/debug

A case is a function of the seed and its number: --only NUMBER sends one again.
"""
import argparse
import collections
import contextlib
import copy
import json
import os
import pathlib
import random
import re
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "api"), str(HERE)]
import tiny_model  # noqa: E402
from server import Server  # noqa: E402

TURN = {"role": "user", "content": "Say hello. Grüße 世界"}
BODIES = [
    ("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "system", "content": [{"type": "text", "text": "x"}]}, TURN], "max_tokens": 2}),
    ("/v1/chat/completions", {"messages": [TURN], "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}, "n": 2}),
    ("/v1/chat/completions", {"messages": [TURN, {"role": "assistant", "content": "He"}], "max_tokens": 2, "continue_final_message": True,
                              "add_generation_prompt": False, "echo": True, "return_token_ids": True}),
    ("/v1/chat/completions", {"messages": [TURN], "max_tokens": 4, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": -3,
                              "stop": ["a", "bc"], "logit_bias": {"5": 3.5}, "logprobs": True, "top_logprobs": 2, "bad_words": ["x"],
                              "min_tokens": 1, "repetition_penalty": 1.2, "dry_multiplier": 0.5, "allowed_token_ids": [65, 66, 67, 68]}),
    ("/v1/completions", {"prompt": ["ab", "cd"], "max_tokens": 2, "echo": True, "logprobs": 1, "prompt_logprobs": 1}),
    ("/v1/completions", {"prompt": [[1, 2, 3], [4]], "max_tokens": 2, "stream": True, "return_token_ids": True}),
    ("/v1/completions", {"prompt": "ab" * 300, "max_tokens": 2, "truncate_prompt_tokens": 20}),
    ("/tokenize", {"prompt": "Grüße", "return_token_strs": True}),
    ("/tokenize", {"messages": [TURN]}),
    ("/detokenize", {"tokens": [1, 2, 100]}),
]  # fmt: skip
READ_ONLY = ["/health", "/v1/models", "/v1/models/tiny", "/metrics", "/ping", "/load", "/version", "/openapi.json", "/docs", "/debug/scheduler",
             "/v1/models/%74iny", "/", "/v1/../v1/models", "/v1/stream", "/none?x=%zz", "*"]  # fmt: skip
# What parsers stumble over.
MORSELS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
           b"Content-Length: 18446744073709551616\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Host: x\r\n", b"X: " + b"y" * 9000 + b"\r\n", b"0\r\n\r\n",
           b"ffffffffffffffff\r\n", b"5;x=y\r\nabcde\r\n", b"\xff\xfe", b"\xc3", b"%00", b"%", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"POST ", b"PRI * HTTP/2.0",
           b"{", b"[" * 200, b"\"", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"9223372036854775808", b"null", b"true", b"NaN"]  # fmt: skip
VALUES = [None, True, False, 0, -1, 1, 2**31 - 1, 2**31, -(2**63), 2**63 - 1, 2**64, 1.5, -0.0, 1e308, "", "x", "\0", "\ud83d\ude00", "a" * 3000, [], [[]], {}, [1, "x", None],
          {"x": {"y": [None]}}, ["a"] * 70, [-1], {"-1": 5}, {"5": 1e9}]  # fmt: skip
GOOD_STATUS = re.compile(rb"HTTP/1\.1 (1\d\d|[234]\d\d|503) ")
PATIENCE = 60  # seconds for an answer that must come


def request_bytes(chance: random.Random) -> bytes:
    """A request as it should be."""
    headers = ["Host: localhost", "User-Agent: fuzz"]
    if chance.random() < 0.3:
        headers.append(f"Origin: http://{chance.choice(['localhost', 'evil.example', ''])}")
    if chance.random() < 0.2:
        headers.append("Connection: " + chance.choice(["close", "keep-alive", "Upgrade"]))
    if chance.random() < 0.1:
        headers.append("Expect: 100-continue")
    version = chance.choice(["1.1"] * 9 + ["1.0"])
    if chance.random() < 0.25:
        method = chance.choice(["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "TRACE", "CONNECT"])
        return f"{method} {chance.choice(READ_ONLY)} HTTP/{version}\r\n".encode() + "\r\n".join(headers).encode() + b"\r\n\r\n"
    path, body = chance.choice(BODIES)
    body = json.loads(json.dumps(body))
    for _ in range(chance.choice([0, 0, 1, 1, 2, 4])):
        change_value(chance, body)
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    headers.append("Content-Type: " + chance.choice(["application/json"] * 8 + ["application/json; charset=utf-8", "text/plain"]))
    if chance.random() < 0.3:
        headers.append("Transfer-Encoding: chunked")
        size = chance.choice([1, 7, 100, 1 << 20])
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        text = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        lie = chance.choice([0] * 9 + [-1, 1, 100])
        headers.append(f"Content-Length: {max(0, len(text) + lie)}")
    return f"POST {path} HTTP/{version}\r\n".encode() + "\r\n".join(headers).encode() + b"\r\n\r\n" + text


def websocket_bytes(chance: random.Random) -> bytes:
    """A connection to /v1/stream: the handshake, and frames of messages that it knows, or nearly."""
    data = (b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
    for _ in range(chance.randrange(1, 6)):
        message = {**json.loads(json.dumps(chance.choice(BODIES)[1])), "type": "request", "id": chance.choice(["a", "b"])}
        if chance.random() < 0.4:
            message = {"type": chance.choice(["cancel", "answer_now", "ping", "x"]), "id": "a"}
        for _ in range(chance.choice([0, 0, 1, 3])):
            change_value(chance, message)
        payload = json.dumps(message).encode()
        cut = chance.choice([len(payload)] * 3 + [chance.randrange(len(payload) + 1)])
        opcode = chance.choice([1] * 8 + [2, 8, 9, 10, 3, 11])
        data += websocket_frame(chance, opcode, payload[:cut], cut == len(payload))
        if cut < len(payload):
            data += websocket_frame(chance, chance.choice([0, 0, 0, 1, 9]), payload[cut:], True)
    return data


def websocket_frame(chance: random.Random, opcode: int, payload: bytes, is_last: bool) -> bytes:
    size = chance.choice([len(payload)] * 12 + [0, 125, 2**16, 2**63 - 1])
    masked = chance.random() < 0.95
    head = bytes([(0x80 if is_last else 0) | opcode | chance.choice([0] * 15 + [0x40])])
    bit = 0x80 if masked else 0
    head += bytes([bit | size]) if size < 126 else bytes([bit | 126]) + struct.pack(">H", size) if size < 2**16 else bytes([bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    key = chance.randbytes(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def change_value(chance: random.Random, body) -> None:
    """Somewhere in it: another value, a field more, a field less."""
    place = body
    while isinstance(place, (dict, list)) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice(keys)
        if chance.random() < 0.5 or not isinstance(place[key], (dict, list)):
            action = chance.random()
            if action < 0.7:
                place[key] = copy.deepcopy(chance.choice(VALUES))
            elif action < 0.85:
                del place[key]
            elif isinstance(place, dict):
                place[chance.choice(["tools", "suffix", "echo", "best_of", "model", "priority", "documents", "cache_salt", "x" * 300])] = copy.deepcopy(chance.choice(VALUES))
            else:
                place.append(copy.deepcopy(chance.choice(VALUES)))
            return
        place = place[key]


def mutate(chance: random.Random, data: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 8])):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice([1, 1, 4, 40]))
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = chance.choice(MORSELS)
        elif kind == 3:
            data[at:at] = data[at:end] * chance.choice([1, 2, 50])
        elif kind == 4:
            data[at:end] = chance.choice(MORSELS)
        else:
            data[at:] = request_bytes(chance)[chance.randrange(200) :]
    return bytes(data)


def case_bytes(seed: int, number: int) -> tuple[bytes, random.Random]:
    chance = random.Random(f"{seed}/{number}")
    if chance.random() < 0.15:
        data = websocket_bytes(chance)
    else:
        data = b"".join(request_bytes(chance) for _ in range(chance.choice([1, 1, 1, 2, 3])))
    return mutate(chance, data), chance


class Findings:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.cases = 0
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def add(self, number: int, data: bytes, answer: bytes, complaint: str) -> None:
        with self.lock:
            self.wrong.append(f"case {number}: {complaint}\n  sent {data[:400]!r}\n  got {answer[:400]!r}")


def send(port: int, data: bytes, chance: random.Random) -> bytes | None:
    """What came back; None where the client did not wait for it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        answer = b""
        try:
            head, blank, rest = data.partition(b"\r\n\r\n")
            if head.startswith(b"GET /v1/stream") and rest:  # nobody speaks before the handshake is answered
                connection.sendall(head + blank)
                answer, data = connection.recv(65536), rest
            if chance.random() < 0.3:
                for _ in range(chance.randrange(2, 6)):
                    size = chance.randrange(len(data) + 1)
                    connection.sendall(data[:size])
                    data = data[size:]
            connection.sendall(data)
            way = chance.random()
            if way < 0.15:  # gone, with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return None
            if way < 0.3:  # reads a little and leaves
                connection.settimeout(chance.random() * 0.05 + 0.001)
                connection.recv(chance.randrange(1, 200))
                return None
            with contextlib.suppress(OSError):  # it may have been reset meanwhile
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
            return answer
        except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError):
            return None
        except TimeoutError:
            if connection.gettimeout() < PATIENCE:
                return None
            raise


def check(findings: Findings, number: int, data: bytes, answer: bytes | None) -> None:
    with findings.lock:
        findings.cases += 1
        for line in re.findall(rb"HTTP/1\.1 (\d\d\d)", answer or b""):
            findings.statuses[line.decode()] += 1
    if answer and not GOOD_STATUS.match(answer):
        findings.add(number, data, answer, "not an answer that should be")
    elif answer and re.search(rb"\nHTTP/1\.1 50[0124-9] ", answer):
        findings.add(number, data, answer, "a server error behind another answer")


def work(port: int, seed: int, numbers, until: float, findings: Findings) -> None:
    for number in numbers:
        if time.monotonic() > until or len(findings.wrong) >= 20:
            return
        data, chance = case_bytes(seed, number)
        try:
            check(findings, number, data, send(port, data, chance))
        except OSError as error:
            findings.add(number, data, b"", f"{type(error).__name__}: {error}")


def settled(server: Server) -> bool:
    """Every answer has ended."""
    for _ in range(PATIENCE * 10):
        with urllib.request.urlopen(f"{server.url}/load", timeout=PATIENCE) as reply:
            if json.load(reply)["server_load"] == 0:
                return True
        time.sleep(0.1)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--only", type=int, help="one case, and what came of it")
    arguments = parser.parse_args()
    findings = Findings()
    with tempfile.TemporaryDirectory() as work_folder:
        model = tiny_model.write(pathlib.Path(work_folder))
        flags = ["--max-model-len", "256", "--kv-cache-dtype", "f32", "--log-level", "warning", "--max-num-seqs", "4"]
        asan = os.environ.get("ASAN_OPTIONS", "detect_container_overflow=0")
        server = Server(*flags, model=str(model), page=False, ASAN_OPTIONS=asan)
        try:
            if arguments.only is not None:
                data, chance = case_bytes(arguments.seed, arguments.only)
                print(data, send(server.port, data, chance), sep="\n")
            else:
                until = time.monotonic() + arguments.seconds
                threads = [threading.Thread(target=work, args=(server.port, arguments.seed, range(i, arguments.cases, arguments.threads), until, findings))
                           for i in range(arguments.threads)]  # fmt: skip
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            if server.process.poll() is not None:
                findings.wrong.append(f"the server ended with {server.process.returncode}")
            elif not settled(server):
                findings.wrong.append("answers are still being made for clients that have gone")
        except OSError as error:
            findings.wrong.append(f"the server does not answer any more: {error}")
        status = server.stop()
        if status != 0 or any("Sanitizer" in line or "runtime error" in line for line in server.log):
            findings.wrong.append(f"the server ended with {status}:\n{''.join(server.log[-60:])}")
    for finding in findings.wrong:
        print(finding)
    print(f"{findings.cases} cases, statuses {dict(sorted(findings.statuses.items()))}, {len(findings.wrong)} findings")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
