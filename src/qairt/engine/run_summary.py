"""How a run ended, in a few lines: `summary.json`."""

from __future__ import annotations

from qairt.engine.run_folder import RunFolder
from qairt.engine.run_state import RunState


def write_summary(folder: RunFolder, state: RunState) -> None:
    """Keep what the list of runs shows of it."""
    folder.write("summary.json", {"status": state.status, "seconds": state.seconds})
