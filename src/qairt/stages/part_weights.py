"""The float weights of a part: its first graph writes them, the others hard-link that file.

{cache}/split_model/shared/{identity}.json     size, modification time and inode of the file
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from qairt.files import read_json, write_atomic
from qairt.folders import MAKING
from qairt.keys import digest
from qairt.stages.export import WEIGHTS

if TYPE_CHECKING:
    import onnx_ir as ir

    from qairt.graph.weights_file import ExportedWeights


def write_part_weights(
    part: ir.Model, weights: ExportedWeights, path: Path, shared: Path, progress: Callable[[float, str], None]
) -> None:
    """Write the weights that a part refers to, or link the file that another graph of it wrote; then the part refers to
    `path`.

    Args:
        weights: those of the whole graph.
        shared: the stage's folder for what its items share.

    Raises:
        ModelError: a weight is missing or contains NaN; names it.
    """
    from qairt.graph.weights_file import locations_of, names_in_file, refer, write_weights

    names = names_in_file(part)
    record = shared / f"{digest([names, [[str(source), *_stamp(source)] for source in weights.files]])[:16]}.json"
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(record.with_suffix(".lock")):
        if not _linked(record, path):
            write_weights(weights, path, progress, names=names)
            write_atomic(record, f"{list(_stamp(path))}\n")
    refer(part, locations_of(weights, names), path)


def _linked(record: Path, path: Path) -> bool:
    """Whether the recorded file is still there, finished or not, and is now `path` as well."""
    with suppress(OSError, ValueError):
        written: Sequence[int] = read_json(record)
        stage = record.parent.parent
        for file in (*stage.glob(f"*/{WEIGHTS}"), *stage.glob(f"{MAKING}*/*/{WEIGHTS}")):
            with suppress(OSError):  # it has moved to its place, or was let go
                os.link(file, path)
                if list(_stamp(path)) == written:
                    return True
                path.unlink()
    return False


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
