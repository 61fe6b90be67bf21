"""Named arrays over a pipe: a line of JSON with names, dtypes and shapes, then the arrays' bytes; or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

import numpy as np

from qairt.errors import QairtError, ToolchainError

if TYPE_CHECKING:
    from qairt.graph.session import Array


def send(pipe: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """
    Raises:
        BrokenPipeError: the reader is gone.
    """
    _send_line(pipe, {"arrays": [[name, array.dtype.name, array.shape] for name, array in arrays.items()]})
    for array in arrays.values():
        pipe.write(np.ascontiguousarray(array).data)
    pipe.flush()


def send_error(pipe: IO[bytes], error: QairtError) -> None:
    """Send an error, which the reader's `receive` raises."""
    _send_line(pipe, {"error": {"what": error.what, "where": error.where, "remedy": error.remedy}})
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Array]:
    """
    Raises:
        EOFError: the sender is gone.
        ToolchainError: the sender sent an error.
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


def _send_line(pipe: IO[bytes], head: Mapping[str, object]) -> None:
    pipe.write(json.dumps(head).encode() + b"\n")
