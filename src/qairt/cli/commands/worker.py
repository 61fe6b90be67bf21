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
        Path, typer.Option(metavar="DIR", help="Where items are made; fetched files stay there for later ones.")
    ] = Path("qairt-worker"),
    jobs: Jobs = None,
    memory: Memory = None,
) -> None:
    """Make items for runs on other machines.

    It joins a Dask cluster and makes what `qairt run --executor dask` sends, until it is ended. No folder is shared:
    files come and go through the run's store, whose credentials this machine needs in its environment. Ended with
    Ctrl-C or SIGTERM, it gives its items back. When the scheduler is gone, it tries to join again.

    Any worker of a Dask cluster will do, such as those of dask-jobqueue, where the same versions are installed. Who
    reaches the scheduler can run programs here: outside a trusted network, use Dask's TLS (tls://…).

    \b
    Examples:
      dask scheduler
      qairt worker --scheduler tcp://10.0.0.5:8786
      srun qairt worker --scheduler tcp://10.0.0.5:8786 --jobs 2 --memory 32G
      qairt run recipe.yaml --executor dask --scheduler tcp://10.0.0.5:8786

    \b
    Exit codes: 0 ended as asked, 1 it cannot join.
    """
    from qairt.cli.console import emit
    from qairt.engine.run.cluster.supervisor import work

    work(scheduler, folder.absolute(), jobs=jobs, memory=memory, notify=emit)
