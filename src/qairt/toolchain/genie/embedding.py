"""An embedding model in Genie, in its own process; see `qairt.toolchain.genie.dialog`."""

from __future__ import annotations

from qairt.toolchain.genie.dialog import CREATE_TIMEOUT_S, InGenie


class Embedding(InGenie):
    """`with Embedding(config) as embedding: embedding.vector("…")`."""

    def vector(self, text: str) -> list[float]:
        """
        Raises:
            ToolchainError: the text does not fit, Genie failed, or its process died.
        """
        self._process.request(do="embed", text=text)
        found = self._process.status(CREATE_TIMEOUT_S)
        self._require_success(found["status"], "it made no vector")
        return found["vector"]
