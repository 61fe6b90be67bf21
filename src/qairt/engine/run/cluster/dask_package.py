"""The package distributed: whether it is there, and what it says in words of ours."""

from __future__ import annotations

import importlib.util
import logging

from qairt.errors import QairtError, RecipeError


def require_distributed(what: str) -> None:
    """
    Args:
        what: needs it.

    Raises:
        RecipeError: it is not installed.
    """
    if importlib.util.find_spec("distributed") is None:
        raise RecipeError(
            f"{what} needs the package distributed, which is not installed", remedy="pip install 'qairt[cluster]'"
        )


def no_scheduler(address: str) -> QairtError:
    """The error where nothing answers at a scheduler's address."""
    return QairtError(
        "no Dask scheduler answers", where=address, remedy="start one with `dask scheduler`, or correct --scheduler"
    )


def silence_dask() -> None:
    """Silence its log lines: what matters of them is said in our own words. Imports it, which sets up its loggers."""
    import distributed  # noqa: F401

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "bokeh"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
