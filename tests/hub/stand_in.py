"""A model hub on loopback: the Hugging Face hub's and ModelScope's protocols, with the faults of real networks on demand.

Two servers: the hub, which lists and redirects, and the storage it redirects to, at another port and so another host to a client.
"""

import hashlib
import json
import socket
import threading
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Blob:
    """A file of a repository. `served` is what the storage sends where that differs from what the hub lists."""

    content: bytes
    lfs: bool = True
    served: bytes | None = None
    listed_size: int | None = None
    listed_sha256: str | None = None

    @property
    def sha256(self):
        return self.listed_sha256 or hashlib.sha256(self.content).hexdigest()

    @property
    def git_blob(self):
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def size(self):
        return len(self.content) if self.listed_size is None else self.listed_size

    @property
    def body(self):
        return self.content if self.served is None else self.served


@dataclass
class Seen:
    server: str
    path: str
    headers: dict


class StandIn:
    """`repositories["org/name"]["file"] = Blob(...)`; `faults["/path"]` is a list of functions, each used up by one request.

    A fault is called with the handler and returns True when it has answered.
    """

    def __init__(self):
        self.repositories = defaultdict(dict)
        self.plain = {}  # path → (bytes, etag or None), on the storage
        self.faults = defaultdict(list)
        self.required_token = None
        self.seen = []
        self.lock = threading.Lock()
        self.hub = self._start("hub")
        self.storage = self._start("storage")

    def _start(self, name):
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_name = name

            def log_message(self, *_):
                pass

            def do_GET(self):
                path = urllib.parse.unquote(self.path.split("?")[0])
                with stand_in.lock:
                    stand_in.seen.append(Seen(name, self.path, dict(self.headers)))
                    faults = stand_in.faults[path]
                    fault = faults.pop(0) if faults else None
                try:
                    if fault and fault(self):
                        return
                    stand_in.answer(self, path)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def close(self):
        for server in (self.hub, self.storage):
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.hub.server_port}"

    @property
    def storage_endpoint(self):
        return f"http://127.0.0.1:{self.storage.server_port}"

    def requests(self, server, containing=""):
        with self.lock:
            return [one for one in self.seen if one.server == server and containing in one.path]

    def answer(self, handler, path):
        if handler.server_name == "storage":
            return self._answer_storage(handler, path)
        if self.required_token and handler.headers.get("Authorization") != f"Bearer {self.required_token}":
            return send(handler, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        parts = path.strip("/").split("/")
        if path.startswith("/api/models/") and parts[4:5] == ["tree"]:
            return self._list(handler, "/".join(parts[2:4]))
        if path.startswith("/api/v1/models/"):
            return self._list_modelscope(handler, "/".join(parts[3:5]))
        if parts[0] == "models":
            parts = parts[1:]
        if len(parts) > 4 and parts[2] == "resolve":
            return self._resolve(handler, "/".join(parts[:2]), "/".join(parts[4:]))
        return send(handler, 404, b"{}")

    def _list(self, handler, name):
        if name not in self.repositories:
            return send(handler, 404, b'{"error":"Repository not found"}')
        files = []
        for path, blob in self.repositories[name].items():
            entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.git_blob}
            if blob.lfs:
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
            files.append(entry)
        files.append({"type": "directory", "path": "folder", "size": 0, "oid": "0" * 40})
        return send(handler, 200, json.dumps(files).encode(), {"Content-Type": "application/json"})

    def _list_modelscope(self, handler, name):
        if name not in self.repositories:
            return send(handler, 404, b"{}")
        files = [
            {"Path": path, "Name": path, "Size": blob.size, "Sha256": blob.sha256, "Type": "blob"}
            for path, blob in self.repositories[name].items()
        ]
        body = json.dumps({"Code": 200, "Data": {"Files": files}}).encode()
        return send(handler, 200, body, {"Content-Type": "application/json"})

    def _resolve(self, handler, name, path):
        blob = self.repositories.get(name, {}).get(path)
        if blob is None:
            return send(handler, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT}
        if not blob.lfs:
            return send_file(handler, blob.body, f'"{blob.git_blob}"', headers)
        headers |= {
            "X-Linked-ETag": f'"{blob.sha256}"',
            "X-Linked-Size": str(blob.size),
            "Location": f"{self.storage_endpoint}/blobs/{name}/{urllib.parse.quote(path)}?signature=secret",
        }
        return send(handler, 302, b"Found. Redirecting", headers)

    def _answer_storage(self, handler, path):
        if path in self.plain:
            content, etag = self.plain[path]
            return send_file(handler, content, etag)
        if path.startswith("/blobs/"):
            parts = path.split("/")
            blob = self.repositories["/".join(parts[2:4])].get("/".join(parts[4:]))
            if blob:
                return send_file(handler, blob.body, f'"{blob.sha256[:32]}"')
        return send(handler, 404, b"")


def send(handler, status, body, headers=None):
    handler.send_response(status)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def requested_offset(handler, etag):
    wanted = handler.headers.get("Range")
    condition = handler.headers.get("If-Range")
    if not wanted or (condition and condition != etag):
        return None
    return int(wanted.removeprefix("bytes=").rstrip("-"))


def send_file(handler, content, etag, headers=None):
    offset = requested_offset(handler, etag)
    headers = dict(headers or {}, **{"Content-Type": "application/octet-stream"})
    if etag:
        headers["ETag"] = etag
    if offset is None:
        return send(handler, 200, content, headers)
    if offset >= len(content):
        return send(handler, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {offset}-{len(content) - 1}/{len(content)}"
    return send(handler, 206, content[offset:], headers)


# Faults.


def status(code, body=b"{}", **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler: send(handler, code, body, named)


def web_page(handler):
    return send(handler, 200, b"<!doctype html><title>Log in to the network</title>", {"Content-Type": "text/html"})


def redirect(location):
    return lambda handler: send(handler, 302, b"", {"Location": location})


def break_after(count):
    """Announces the whole answer, sends `count` bytes of it and hangs up."""

    def fault(handler):
        original = handler.wfile.write
        state = {"left": count, "headers": True}

        def write(data):
            if state["headers"]:  # send_response and end_headers arrive in one piece
                state["headers"] = False
                return original(data)
            original(data[: state["left"]])
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            raise BrokenPipeError

        handler.wfile.write = write
        handler.close_connection = True
        return False

    return fault


def hold_after(count, release):
    """Sends `count` bytes, then nothing until the event `release` is set."""

    def fault(handler):
        original = handler.wfile.write
        state = {"headers": True}

        def write(data):
            if state["headers"]:
                state["headers"] = False
                return original(data)
            original(data[:count])
            handler.wfile.flush()
            release.wait(60)
            return original(data[count:])

        handler.wfile.write = write
        return False

    return fault


def without_ranges(handler):
    del handler.headers["Range"]
    return False


def endless(handler):
    """A body without announced length that never ends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/octet-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    chunk = b"GGUF" + b"\0" * 65532
    while True:
        handler.wfile.write(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
