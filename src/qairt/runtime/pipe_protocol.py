"""Named arrays over a pipe: a line of JSON that says what follows, then the arrays' bytes; or an error in that line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from qairt.errors import QairtError, ToolchainError
from qairt.runtime.stored import Array


def send(pipe: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """
    Raises:
        BrokenPipeError: the other side is gone.
    """
    _send_line(pipe, {"arrays": [[name, array.dtype.name, array.shape] for name, array in arrays.items()]})
    for array in arrays.values():
        pipe.write(np.ascontiguousarray(array).data)
    pipe.flush()


def send_error(pipe: IO[bytes], error: QairtError) -> None:
    """The other side's `receive` raises it."""
    _send_line(pipe, {"error": {"what": error.what, "where": error.where, "remedy": error.remedy}})
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Array]:
    """
    Raises:
        EOFError: the other side is gone.
        ToolchainError: the other side sent an error.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    if "error" in head:
        raise ToolchainError(head["error"].pop("what"), **head["error"])
    arrays: dict[str, Array] = {}
    for name, dtype, shape in head["arrays"]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        data = pipe.read(size)
        if len(data) != size:
            raise EOFError
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return arrays


def _send_line(pipe: IO[bytes], head: dict[str, Any]) -> None:
    pipe.write(json.dumps(head).encode() + b"\n")
