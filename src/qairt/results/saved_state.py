"""Saved states of a finished run's generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.results.concurrency import stored_branches
from qairt.runtime.saved_state import Owner, SavedState, digest_of, read_state, write_state
from qairt.stages.quantize import QuantizedPart

if TYPE_CHECKING:
    from qairt.results.finished import FinishedRun


def owner_of(run: FinishedRun, concurrency: str) -> Owner:
    """What computes a state with the graphs of a run: the digests of their files, and the adapters' values."""
    digests = []
    for item in run.items("quantize"):
        output, stored = run.output(item, QuantizedPart), item.entry.paths() if item.entry is not None else {}
        files = (output.quantized_onnx, output.quantized_weights, output.signature)
        digests += [stored.get(path, "") for path in files]
    return Owner(keys.digest(sorted(digests)), concurrency, digest_of(stored_branches(run, concurrency)))


def load_state(run: FinishedRun, path: Path, concurrency: str) -> SavedState:
    """Raises what `read_state` does."""
    return read_state(path, owner_of(run, concurrency))


def save_state(run: FinishedRun, state: SavedState, path: Path, concurrency: str) -> None:
    """Raises what `write_state` does."""
    write_state(path, state, owner_of(run, concurrency))
