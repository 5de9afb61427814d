"""Requests that no well-meaning client sends, each with what a sound server may answer to it."""
import asyncio
import json
import random

CHAT = "/v1/chat/completions"
CLOSED = 0  # the connection ended without an answer


async def raw(port: int, data: bytes, *, half_close: bool = False, patience: float = 90) -> int:
    """Send bytes, read to the end of the answer's head; the status, or CLOSED."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        if half_close:
            writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), patience)
        return int(line.split()[1]) if line.startswith(b"HTTP/1.") else CLOSED
    except (ConnectionError, OSError):
        return CLOSED  # it may close before it has read everything
    finally:
        writer.close()


def post(body: bytes, path: str = CHAT, headers: str = "Content-Type: application/json\r\n", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {size}\r\n\r\n".encode() + body


def chat(**fields) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, **fields}).encode()


async def broken_json(port: int, rng: random.Random) -> int:
    whole = chat()
    return await raw(port, post(whole[:rng.randrange(len(whole))] + rng.choice([b"", b"}", b"\x00", b"nul"])))


async def wrong_types(port: int, rng: random.Random) -> int:
    fields = rng.choice([{"messages": "hi"}, {"messages": [7]}, {"messages": []}, {"temperature": "hot"}, {"max_tokens": -1}, {"max_tokens": 1e99},
                         {"stop": {"a": 1}}, {"stream": "yes"}, {"top_p": [1]}, {"logit_bias": {"x": "y"}}, {"seed": 1.5}, {"no_such_field": 1},
                         {"messages": [{"role": "user", "content": {"text": "x"}}]}, {"model": 3}])
    return await raw(port, post(chat(**fields)))


async def deep_nesting(port: int, rng: random.Random) -> int:
    depth = rng.choice([200, 20_000])
    return await raw(port, post(b'{"messages":' + b"[" * depth + b"]" * depth + b"}"))


async def huge_length(port: int, rng: random.Random) -> int:
    return await raw(port, post(b"{", length=rng.choice([10**9, 10**12, 2**63, 2**64 + 5])))


async def huge_headers(port: int, rng: random.Random) -> int:
    return await raw(port, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: {'a' * 100_000}\r\n\r\n".encode())


async def long_prompt(port: int, rng: random.Random) -> int:
    return await raw(port, post(chat(messages=[{"role": "user", "content": "word " * rng.choice([5_000, 200_000])}])))


async def invalid_utf8(port: int, rng: random.Random) -> int:
    bad = rng.choice([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
    return await raw(port, post(chat().replace(b"Hi", bad)))


async def invalid_utf8_path(port: int, rng: random.Random) -> int:
    return await raw(port, b"GET /v1/\xff\xfe%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


async def unknown_route(port: int, rng: random.Random) -> int:
    path = rng.choice(["/", "/v2/chat", "/v1/chat/completions/", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/debug", "/v1//models"])
    return await raw(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def wrong_method(port: int, rng: random.Random) -> int:
    method = rng.choice(["DELETE", "PUT", "PATCH", "GET", "BREW"])
    return await raw(port, f"{method} {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def foreign_host(port: int, rng: random.Random) -> int:
    return await raw(port, b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n")


async def form_post(port: int, rng: random.Random) -> int:
    return await raw(port, post(chat(), headers="Content-Type: text/plain\r\n"))


async def not_http(port: int, rng: random.Random) -> int:
    return await raw(port, rng.choice([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(rng.randbytes(200)) + b"\r\n\r\n", b"\r\n\r\n\r\n",
                                       b"SSH-2.0-OpenSSH_9.2\r\n\r\n", rng.randbytes(500) + b"\r\n\r\n"]), half_close=True)


async def slow_sender(port: int, rng: random.Random) -> int:
    """A byte now and then, and away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for byte in post(chat())[:rng.randrange(5, 25)]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)
    except OSError:
        pass
    writer.close()
    return CLOSED


async def half_a_body(port: int, rng: random.Random) -> int:
    body = chat()
    return await raw(port, post(body[:-5], length=len(body)), half_close=True)


async def half_closed(port: int, rng: random.Random) -> int:
    """Not hostile at all: what is answered at once is answered."""
    return await raw(port, b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", half_close=True)


async def at_once_away(port: int, rng: random.Random) -> int:
    """Connect, and reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.abort()
    return CLOSED


# What each may be answered with. None of them reaches the model.
KINDS = {
    broken_json: {400}, wrong_types: {400}, deep_nesting: {400}, huge_length: {400, 413}, huge_headers: {431}, long_prompt: {400},
    invalid_utf8: {400}, invalid_utf8_path: {400, 404}, unknown_route: {404}, wrong_method: {400, 405}, foreign_host: {403}, form_post: {415},
    not_http: {400, CLOSED}, slow_sender: {CLOSED}, half_a_body: {400, CLOSED}, half_closed: {200}, at_once_away: {CLOSED},
}
