"""An HTTP server on 127.0.0.1 that keeps objects, as S3 does and as a plain web server does, and fails as it is told.

`python -m store_server FOLDER` serves objects in files, for tests that kill what uses it.
"""

from __future__ import annotations

import threading
import xml.sax.saxutils
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

Fault = Literal["", "silent", "drips", "forbidden", "error", "full", "truncates", "lies", "short", "not found page"]
"""silent: no answer; drips: a byte now and then; full: nothing can be stored; truncates: the connection ends in the
middle; lies: other bytes of the same size; short: a shorter object, well-formed."""


class StoreServer(ThreadingHTTPServer):
    """Objects below `/bucket/`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, _Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.fault: Fault = ""
        self.concerns = ""
        """The fault concerns objects whose names begin so."""
        self.requests: list[tuple[str, str]] = []
        self.authorizations: set[str] = set()
        self.over = threading.Event()
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bucket/team"

    def names(self, kind: str) -> list[str]:
        """The objects of one kind: `cas`, `ac` or `rivals`."""
        return sorted(name for name in self.objects if name.startswith(f"team/{kind}/"))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def serving() -> Iterator[StoreServer]:
    """A server, while inside."""
    server = StoreServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StoreServer

    def do_GET(self) -> None:
        name, query = self._asked()
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0])
            return
        fault = self._fault(name)
        content = self.server.objects.get(name)
        if self._refused(fault) or self._missing(content):
            return
        assert content is not None
        if fault == "lies":
            content = bytes(byte ^ 1 for byte in content[:64]) + content[64:]
        if fault == "short":
            content = content[: len(content) // 2]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        whole, content = len(content), content[start:]
        self._head(206 if start else 200, content, content_range=f"bytes {start}-{whole - 1}/{whole}" if start else "")
        if fault == "drips":
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.over.wait(0.3):
                    return
        elif fault == "truncates":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        name, _ = self._asked()
        content = self.server.objects.get(name)
        if not self._refused(self._fault(name)) and not self._missing(content):
            self._head(200, content or b"")

    def do_PUT(self) -> None:
        name, query = self._asked()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self._fault(name)
        if fault == "full":
            self._answer(507, b"")
        elif self._refused(fault):
            pass
        elif "uploadId" in query:
            self.server.parts[query["uploadId"][0]][int(query["partNumber"][0])] = content
            self._answer(200, b"", etag=query["partNumber"][0])
        else:
            with self.server.lock:
                there = name in self.server.objects
                refused = there and self.headers.get("If-None-Match") == "*"
                if not refused:
                    self.server.objects[name] = content
            self._answer(412 if refused else 200, b"", etag="0")

    def do_POST(self) -> None:
        name, query = self._asked()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._refused(self._fault(name)):
            return
        if "uploads" in query:
            upload = f"u{len(self.server.parts)}"
            self.server.parts[upload] = {}
            self._answer(
                200,
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
        else:
            parts = self.server.parts.pop(query["uploadId"][0])
            self.server.objects[name] = b"".join(parts[number] for number in sorted(parts))
            self._answer(
                200,
                b"<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>",
            )

    def do_DELETE(self) -> None:
        self._asked()
        self._answer(204, b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        name = unquote(parts.path).removeprefix("/bucket/")
        self.server.requests.append((self.command, name))
        self.server.authorizations.add(self.headers.get("Authorization", ""))
        return name, parse_qs(parts.query, keep_blank_values=True)

    def _fault(self, name: str) -> Fault:
        return self.server.fault if name.startswith(f"team/{self.server.concerns}") else ""

    def _refused(self, fault: Fault) -> bool:
        if fault == "silent":
            self.server.over.wait(60)
            self.close_connection = True
        elif fault == "forbidden":
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif fault == "error":
            self._answer(503, b"")
        elif fault == "not found page":
            self._answer(404, b"<html>a proxy's page</html>")
        return fault in ("silent", "forbidden", "error", "not found page")

    def _missing(self, content: bytes | None) -> bool:
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return content is None

    def _list(self, prefix: str) -> None:
        found = [
            f"<Contents><Key>{xml.sax.saxutils.escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>0</ETag><Size>{len(content)}</Size></Contents>"
            for name, content in sorted(self.server.objects.items())
            if name.startswith(prefix)
        ]
        text = "".join(found)
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{text}</ListBucketResult>".encode())

    def _head(self, code: int, content: bytes, etag: str = "0", content_range: str = "") -> None:
        self.send_response(code)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def _answer(self, code: int, content: bytes, etag: str = "0") -> None:
        self._head(code, content, etag)
        if self.command != "HEAD":
            self.wfile.write(content)
