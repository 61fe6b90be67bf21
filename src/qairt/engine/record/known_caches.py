"""The cache directories in which this user has run something on this machine, whatever folder they are in.

One path a line in `$XDG_STATE_HOME/qairt/caches`, the latest last. It is only a memory: a directory that is gone is
skipped, and where the file cannot be written nothing is lost but that.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qairt.engine.record.folder import RunFolder, run_folders
from qairt.files import read_regular, write_atomic
from qairt.user_folder import state_folder

_KEPT = 200


def remember_cache(cache_dir: Path) -> None:
    """Note that something runs in a cache directory."""
    place = str(cache_dir.absolute())
    if "\n" in place:
        return
    known = _lines()
    if known[-1:] == [place]:
        return
    kept = [*[line for line in known if line != place], place][-_KEPT:]
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_file(), "".join(f"{line}\n" for line in kept))


def known_state_folders() -> list[Path]:
    """`pipeline_state/` of each, the latest first; those that are gone are left out."""
    return [folder for line in reversed(_lines()) if (folder := Path(line) / "pipeline_state").is_dir()]


def known_runs() -> list[RunFolder]:
    """Every run in them."""
    return [run for folder in known_state_folders() for run in run_folders(folder)]


def _file() -> Path:
    return state_folder() / "caches"


def _lines() -> list[str]:
    try:
        return read_regular(_file()).decode(errors="replace").splitlines()
    except OSError:
        return []
