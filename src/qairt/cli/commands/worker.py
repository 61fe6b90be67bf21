"""`qairt worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qairt.cli.run_options import Jobs, Memory


def worker(
    *,
    scheduler: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="The Dask scheduler, such as tcp://10.0.0.5:8786.", show_default=False),
    ],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where items are built; fetched files are kept there for later ones.")
    ] = Path("qairt-worker"),
    jobs: Jobs = None,
    memory: Memory = None,
) -> None:
    """Build items for runs on other machines.

    It joins a Dask cluster and builds what `qairt run --executor dask` sends. No folder is shared: files come and go
    through the run's store, whose credentials this machine needs in its environment. Ctrl-C or SIGTERM ends it; its
    items are then built elsewhere. If it loses the scheduler, it keeps trying to rejoin.

    Any Dask worker with the same versions installed works too, such as those that dask-jobqueue starts. Anyone who can
    reach the scheduler can run programs here: outside a trusted network, use Dask's TLS (tls://…).

    \b
    Examples:
      dask scheduler
      qairt worker --scheduler tcp://10.0.0.5:8786
      srun qairt worker --scheduler tcp://10.0.0.5:8786 --jobs 2 --memory 32G
      qairt run recipe.yaml --executor dask --scheduler tcp://10.0.0.5:8786

    \b
    Exit codes: 0 stopped by a signal, 1 cannot join.
    """
    from qairt.cli.console import emit
    from qairt.engine.run.cluster.supervisor import work

    work(scheduler, folder.absolute(), jobs=jobs, memory=memory, notify=emit)
