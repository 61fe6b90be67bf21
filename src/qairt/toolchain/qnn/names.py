"""Graphs under our own names, in artifacts that the provider named.

ONNX Runtime's provider calls every graph `QNNExecutionProvider_QNNExecutionProvider_<hash>_1_0`. A runtime that reads
auto-regressive length, context length and part from a graph's name fails on that. The name has one length everywhere it
stands, so ours replaces it there, padded in front.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from qairt.errors import ToolchainError

PADDING = "_"


def padded(name: str, length: int) -> str:
    """`name` with padding in front, `length` characters long.

    Raises:
        ToolchainError: `name` is longer.
    """
    if len(name) > length:
        raise ToolchainError(
            f"the graph name {name!r} has more than {length} characters", remedy="use a shorter model or part name"
        )
    return name.rjust(length, PADDING)


def rename(path: Path, names: dict[str, str], *, expected: int | None = None) -> dict[str, int]:
    """Replace names by names of the same length, in place.

    Args:
        path: the artifact.
        names: old to new, each pair of one length.
        expected: how often each old name must stand in the file; any equal count when None.

    Returns:
        How often each new name stands in the file now.

    Raises:
        ToolchainError: a name stands another number of times, a new name was there before, or one is left.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        places = {old: _places(content, old.encode()) for old in names}
        counts = {len(found) for found in places.values()}
        if len(counts) != 1 or counts == {0} or (expected is not None and counts != {expected}):
            wanted = f"{expected} times" if expected is not None else "equally often"
            raise ToolchainError(
                f"its graph names stand in it {sorted(len(found) for found in places.values())} times, not {wanted}",
                where=path.name,
                remedy="this onnxruntime-qnn writes another format; use the supported version",
            )
        for old, new in names.items():
            if len(old) != len(new):
                raise ToolchainError(f"{new!r} is not as long as {old!r}", where=path.name)
            if _places(content, new.encode()):
                raise ToolchainError(f"{new!r} stands in it before it was written", where=path.name)
        for old, new in names.items():
            for place in places[old]:
                content[place : place + len(new)] = new.encode()
        content.flush()
        after = {new: len(_places(content, new.encode())) for new in names.values()}
        if any(_places(content, old.encode()) for old in names) or set(after.values()) != counts:
            raise ToolchainError(f"after renaming, its graph names stand in it {after}", where=path.name)
    return after


def _places(content: mmap.mmap, name: bytes) -> list[int]:
    found, place = [], content.find(name)
    while place != -1:
        found.append(place)
        place = content.find(name, place + 1)
    return found
