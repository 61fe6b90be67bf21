"""A finished run's embedding model in Genie on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qairt.notify import Notify
from qairt.results.finished import FinishedRun
from qairt.results.genie_binaries import GenieBinaries

if TYPE_CHECKING:
    from qairt.toolchain.genie.embedding import Embedding


@contextmanager
def opened_embedding(run: FinishedRun, length: int, notify: Notify) -> Iterator[Embedding]:
    """
    Args:
        length: of the graphs.

    Raises:
        ToolchainNotAvailable: the installed wheel has no Genie.
        ItemFailed: a binary cannot be compiled.
        ToolchainError: Genie refused the model; quotes its message.
    """
    from qairt.bundle.genie_config import GenieFiles
    from qairt.bundle.genie_embedding import genie_embedding_config
    from qairt.toolchain.genie import dialog as genie
    from qairt.toolchain.genie.embedding import Embedding

    genie.require()
    binaries = GenieBinaries(run, [length], ar=length).build(notify)
    files = GenieFiles([str(path) for path in binaries], str(run.tokenizer_file))
    config = genie_embedding_config(
        run.config, run.tokenizer, context_size=length, files=files, threads=min(os.cpu_count() or 1, 8)
    )
    with Embedding(config) as embedding:
        yield embedding
