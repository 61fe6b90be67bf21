"""Renaming graphs in artifacts of ONNX Runtime's provider.

The provider calls every graph `QNNExecutionProvider_QNNExecutionProvider_<hash>_1_0`. A runtime that reads AR, CL and
part from a graph's name fails on that. The name has the same length wherever the file contains it, so ours replaces it
there, padded in front.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from qairt.errors import ToolchainError

PADDING = "_"
LETTER = "x"
"""Padding for programs that accept only letters and one underscore before a name."""
_LETTERS = re.compile(rf"\A{LETTER}+_(?=ar\d)")


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


def plain(name: str) -> str:
    """The name without padding of either kind."""
    return _LETTERS.sub("", name.lstrip(PADDING))


def rename(path: Path, names: dict[str, str], *, expected: int | None = None) -> dict[str, int]:
    """Replace names by names of the same length, in place.

    Args:
        path: the artifact.
        names: old to new, each pair of the same length.
        expected: how often the file must contain each old name; any equal count when None.

    Returns:
        How often the file now contains each new name.

    Raises:
        ToolchainError: a count differs, a new name was in the file before, or an old one remains.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        positions = {old: _positions(content, old.encode()) for old in names}
        counts = {len(found) for found in positions.values()}
        if len(counts) != 1 or counts == {0} or (expected is not None and counts != {expected}):
            wanted = f"{expected} times each" if expected is not None else "each equally often"
            raise ToolchainError(
                f"it contains its graph names {sorted(len(found) for found in positions.values())} times, not {wanted}",
                where=path.name,
                remedy="this onnxruntime-qnn writes another format; use the supported version",
            )
        for old, new in names.items():
            if len(old) != len(new):
                raise ToolchainError(f"{new!r} is not as long as {old!r}", where=path.name)
            if _positions(content, new.encode()):
                raise ToolchainError(f"it already contains the new name {new!r}", where=path.name)
        for old, new in names.items():
            for position in positions[old]:
                content[position : position + len(new)] = new.encode()
        content.flush()
        after = {new: len(_positions(content, new.encode())) for new in names.values()}
        if any(_positions(content, old.encode()) for old in names) or set(after.values()) != counts:
            raise ToolchainError(f"renaming failed: it now contains its graph names {after} times", where=path.name)
    return after


def _positions(content: mmap.mmap, name: bytes) -> list[int]:
    found, position = [], content.find(name)
    while position != -1:
        found.append(position)
        position = content.find(name, position + 1)
    return found
