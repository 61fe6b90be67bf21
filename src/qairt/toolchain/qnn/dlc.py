"""DLC files: zip archives of `model`, `model.params`, `model.params.bin` and two JSON descriptions, uncompressed.

The writer puts the time of day into the descriptions and leaves every checksum 0, so zip tools report them as damaged;
here they are read by offset.
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path

from qairt.errors import ToolchainError
from qairt.files import open_regular
from qairt.toolchain.base import GraphContents, Inspection

_TIME = re.compile(rb'"timestamp": "\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"')
_FIXED_TIME = b'"timestamp": "1980-01-01 00:00:00 UTC"'
_LOCAL_HEADER = 30
_VERSION = re.compile(rb'"converterVersion": "([^"]+)"')


def entries(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of each entry in the file, by name.

    Raises:
        ToolchainError: it is not a DLC.
    """
    try:
        with zipfile.ZipFile(path) as archive, open_regular(path) as file:
            found = {}
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ToolchainError(f"its entry {entry.filename} is compressed", where=path.name)
                file.seek(entry.header_offset)
                header = file.read(_LOCAL_HEADER)
                name_length, extra_length = struct.unpack("<HH", header[26:30])
                start = entry.header_offset + _LOCAL_HEADER + name_length + extra_length
                found[entry.filename] = (start, entry.file_size)
    except (zipfile.BadZipFile, struct.error, OSError) as error:
        raise ToolchainError(f"it is not a DLC ({error})", where=path.name, remedy="rebuild it") from error
    if "model" not in found:
        raise ToolchainError("it is not a DLC: it contains no model", where=path.name, remedy="rebuild it")
    return found


def read_entry(path: Path, name: str) -> bytes:
    """The bytes of one entry."""
    start, length = entries(path)[name]
    with open_regular(path) as file:
        file.seek(start)
        return file.read(length)


def fix_times(path: Path) -> None:
    """Overwrite the timestamps in the descriptions, in place, so that the same input gives the same bytes."""
    with path.open("r+b") as file:
        for name, (start, length) in entries(path).items():
            if not name.startswith("dlc.metadata"):
                continue
            file.seek(start)
            text = file.read(length)
            fixed = _TIME.sub(_FIXED_TIME, text)
            if len(fixed) != len(text) or b'"timestamp"' in fixed.replace(_FIXED_TIME, b""):
                raise ToolchainError(f"its entry {name} has a timestamp of unknown form", where=path.name)
            file.seek(start)
            file.write(fixed)


def inspect(path: Path) -> Inspection:
    """Read the name of a DLC's graph and every other name in it.

    Its model is a flatbuffer without a published schema. A string in one is a length, that many bytes, and a zero; all
    of them are collected. The graph's name is the first.

    Raises:
        ToolchainError: it is not a DLC.
    """
    names = _strings(read_entry(path, "model"))
    if not names:
        raise ToolchainError("its model has no named graph", where=path.name, remedy="rebuild it")
    version = b""
    for entry in entries(path):
        if entry.startswith("dlc.metadata.history"):
            match = _VERSION.search(read_entry(path, entry))
            version = match[1] if match else b""
    graph = GraphContents(name=names[0], inputs=(), outputs=())
    return Inspection(kind="dlc", graphs=(graph,), names=frozenset(names), sdk_version=version.decode())


def parameter_bytes(path: Path) -> int:
    """Bytes of its weights and their descriptions."""
    return sum(length for name, (_, length) in entries(path).items() if name.startswith("model.params"))


def _strings(content: bytes) -> list[str]:
    found = []
    for match in re.finditer(rb"[ -~]+(?=\x00)", content):
        start, end = match.span()
        # the length in front may itself be printable text, so the string can begin anywhere in the run
        for first in range(start, min(start + 5, end)):
            if first >= 4 and struct.unpack_from("<I", content, first - 4)[0] == end - first:
                found.append(content[first:end].decode())
                break
    return found
