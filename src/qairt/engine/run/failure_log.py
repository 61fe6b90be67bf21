"""The end of a failed item's log: what went wrong, and what to do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qairt.engine.record.sentences import failure
from qairt.errors import ItemFailed


def tell_in_log(log: Path, error: ItemFailed) -> None:
    """Add the failure to the log. On a full disk only the run's events say it."""
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write("\n" + "\n".join(failure(error.as_dict())) + "\n")
