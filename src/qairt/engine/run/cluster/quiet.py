"""Dask's own log lines: what matters of them is said in our own words."""

from __future__ import annotations

import logging


def silence_dask() -> None:
    """Imports distributed, which sets up its loggers."""
    import distributed  # noqa: F401

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "bokeh"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
