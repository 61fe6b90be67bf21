"""Objects in S3, Google Cloud Storage, Azure, or behind HTTP, through obstore.

Credentials are in the environment, where obstore finds them; what it says of a failure may repeat them, so only the
kind of a failure is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, BinaryIO, NoReturn

from qairt.engine.shared_store.objects import CHUNK, Missing, Unavailable

_PART = 16 << 20  # bytes of one part of an upload, which is held in memory
_PARTS = 3  # sent at a time
_CONNECT, _SILENT, _WHOLE = "5s", "20s", "6h"
_RETRY: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=8)}
_STATUS = re.compile(r"(?:status(?: code)?|response|HTTP)\W{0,4}([45]\d\d)\b|\b([45]\d\d) [A-Z][a-z]+", re.IGNORECASE)
_MEANINGS = {"401": "access denied", "403": "access denied", "507": "it is full"}
_SYMPTOMS = (
    (r"operation timed out|timed ?out|TimedOut", "no answer in time"),
    (r"dns error|failed to lookup address", "its host is unknown"),
    (r"connection refused|kind: Connect", "no connection"),
    (r"IncompleteBody|IncompleteMessage|response body error", "the connection ends in the middle"),
    (r"credential", "the credentials do not work"),
    (r"certificate|tls", "no secure connection"),
)


class CloudObjects:
    """Objects below an address such as `s3://bucket/folder`."""

    def __init__(self, url: str) -> None:
        import obstore
        from obstore.store import from_url

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        plain = url.startswith("http:") or (os.environ.get("AWS_ENDPOINT") or endpoint).startswith("http:")
        options: dict[str, Any] = {"connect_timeout": _CONNECT, "read_timeout": _SILENT, "timeout": _WHOLE}
        self._obs: Any = obstore
        with _faults():
            self._store: Any = from_url(url, client_options={**options, "allow_http": plain}, retry_config=_RETRY)

    def read(self, name: str) -> bytes:
        with _faults():
            return bytes(self._obs.get(self._store, name).bytes())

    def stream(self, name: str) -> Iterator[bytes]:
        with _faults():
            for piece in self._obs.get(self._store, name).stream(min_chunk_size=CHUNK):
                yield bytes(piece)

    def size(self, name: str) -> int | None:
        try:
            with _faults():
                return int(self._obs.head(self._store, name)["size"])
        except Missing:
            return None

    def put(self, name: str, file: BinaryIO) -> None:
        with _stored():
            self._obs.put(self._store, name, file, chunk_size=_PART, max_concurrency=_PARTS)

    def create(self, name: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        with _stored():
            try:
                self._obs.put(self._store, name, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def replace(self, name: str, content: bytes) -> None:
        with _stored():
            self._obs.put(self._store, name, content, use_multipart=False)

    def names(self, prefix: str) -> Iterator[str]:
        with _faults():
            for page in self._obs.list(self._store, prefix):
                yield from (str(found["path"]) for found in page)


@contextmanager
def _faults() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise Missing from None
    except (BaseError, OSError, ValueError) as error:
        _tell(error)


@contextmanager
def _stored() -> Iterator[None]:
    try:
        with _faults():
            yield
    except Missing:
        raise Unavailable("there is no such bucket") from None


def _tell(error: Exception) -> NoReturn:
    text = str(error)
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        raise Unavailable("access denied") from None
    status = _STATUS.search(text)
    if status is not None:
        code = status[1] or status[2]
        raise Unavailable(_MEANINGS.get(code, f"HTTP {code}")) from None
    for symptom, why in _SYMPTOMS:
        if re.search(symptom, text, re.IGNORECASE):
            raise Unavailable(why) from None
    raise Unavailable("it does not answer as a store does") from None
