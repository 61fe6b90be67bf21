"""A finished run's embedding model in Genie on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.notify import Notify
from qairt.results.finished import FinishedRun
from qairt.results.genie_binaries import GenieBinaries

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.tokenizer import Tokenizer
    from qairt.toolchain.genie.embedding import Embedding


@dataclass(frozen=True)
class GenieEmbedder:
    """Nothing is compiled or started before it is used."""

    run: FinishedRun
    length: int
    """Of the graphs."""

    @property
    def model(self) -> DecoderConfig:
        return self.run.config

    @property
    def tokenizer(self) -> Tokenizer:
        return self.run.tokenizer

    @cached_property
    def binaries(self) -> GenieBinaries:
        """Raises what `GenieBinaries` does."""
        return GenieBinaries(self.run, [self.length], ar=self.length)

    @contextmanager
    def opened(self, notify: Notify) -> Iterator[Embedding]:
        """Genie with the model, in its own process; missing binaries are compiled first.

        Raises:
            ToolchainNotAvailable: the installed wheel has no Genie.
            ItemFailed: a binary cannot be compiled.
            ToolchainError: Genie refused the model; quotes its message.
            QairtError: see `binaries` and `config`.
        """
        from qairt.toolchain.genie import dialog as genie
        from qairt.toolchain.genie.embedding import Embedding

        genie.require()
        with Embedding(self.config(self.binaries.build(notify))) as embedding:
            yield embedding

    def config(self, binaries: Sequence[Path]) -> dict[str, object]:
        """The `genie_config.json` on this machine.

        Raises:
            ModelError: the tokenizer does what Genie cannot do.
        """
        from qairt.bundle.genie_config import GenieFiles
        from qairt.bundle.genie_embedding import genie_embedding_config

        files = GenieFiles([str(path) for path in binaries], str(self.run.tokenizer_file))
        return genie_embedding_config(
            self.model, self.tokenizer, context_size=self.length, files=files, threads=min(os.cpu_count() or 1, 8)
        )
