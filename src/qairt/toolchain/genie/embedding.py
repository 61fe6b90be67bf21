"""An embedding model in Genie, in its own process; see `qairt.toolchain.genie.dialog`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from qairt.toolchain.genie.dialog import CREATE_TIMEOUT_S, require, require_one_graph_each
from qairt.toolchain.genie.process import GenieProcess


class Embedding:
    """`with Embedding(config) as embedding: embedding.vector("…")`."""

    def __init__(self, config: Mapping[str, object], *, folder: Path | None = None) -> None:
        """
        Args:
            config: the content of a `genie_config.json`.
            folder: the base of its relative paths.

        Raises:
            ToolchainNotAvailable: see `require`.
            ToolchainError: a binary holds several graphs, or Genie rejected the configuration, the tokenizer or a
                binary; contains its output.
        """
        libraries = require()
        require_one_graph_each(config, folder)
        self._process = GenieProcess(libraries, folder)
        try:
            self._process.request(do="create", config=config)
            created = self._process.status(CREATE_TIMEOUT_S)
            if created["status"] != 0:
                raise self._process.failed(f"it rejected the model (status {created['status']})")
        except BaseException:
            self.close()
            raise
        self._process.complaints()  # drops warnings

    def vector(self, text: str) -> list[float]:
        """
        Raises:
            ToolchainError: the text does not fit, Genie failed, or its process died.
        """
        self._process.request(do="embed", text=text)
        found = self._process.status(CREATE_TIMEOUT_S)
        if found["status"] != 0:
            raise self._process.failed(f"it made no vector (status {found['status']})")
        return found["vector"]

    def close(self) -> None:
        """Kill Genie's process."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
