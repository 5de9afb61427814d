"""WebSocket frames by hand, to send what no proper client would."""
import base64
import os
import socket
import struct

from server import PATIENCE

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None) -> bytes:
    """One frame as a client sends it. `length`: what its head says, if not the truth."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    repeated = int.from_bytes((mask * (len(payload) // 4 + 1))[:len(payload)], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ repeated).to_bytes(len(payload), "big")


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class RawWebSocket:
    """A connection that has shaken hands, unless `status` is another than 101."""

    def __init__(self, port: int, path: str = "/v1/stream", headers: dict[str, str | None] | None = None, method: str = "GET") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        fields: dict[str, str | None] = {
            "Host": f"127.0.0.1:{port}", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **(headers or {}),
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
        self.send("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self.received:
            if not self._read_some():
                break
        self.head, _, self.received = self.received.partition(b"\r\n\r\n")
        self.status = int(self.head[9:12] or 0)

    def header(self, name: str) -> str | None:
        for line in self.head.decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def send_chopped(self, data: bytes, size: int) -> None:
        self.send(*(data[at:at + size] for at in range(0, len(data), size)))

    def _read_some(self) -> bool:
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += part
        return bool(part)

    def _take(self, size: int) -> bytes:
        while len(self.received) < size:
            if not self._read_some():
                raise EOFError(f"the connection ended; left: {self.received!r}")
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def read(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload. A server masks nothing, and this one sends each message whole."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80 and second & 0x80 == 0, (first, second)
        size = second
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        return first & 0x0F, self._take(size)

    def at_end(self) -> bool:
        """Waits for the end of the connection."""
        while self._read_some():
            pass
        return self.received == b""

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()
