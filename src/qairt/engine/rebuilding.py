"""Making items whole whose files were let go, because somebody asks for them."""

from __future__ import annotations

from collections.abc import Collection

from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.demand import is_let_go
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError


def rebuild(pipeline: Pipeline, names: Collection[str]) -> None:
    """Rebuild items whose files were let go, or that nothing needed so far, and what these are made from.

    Raises:
        CacheError: something else is missing, so that it takes a run.
        QairtError: the settings cannot work, or an item failed.
    """
    options = RunOptions(asked=frozenset(names))
    plan = pipeline.plan(options)
    missing = [item for item in plan.to_run() if item.released is None and not is_let_go(plan, item.stage)]
    if missing:
        raise CacheError(f"it is not built yet: {missing[0].reason}", where=missing[0].name, remedy="run again")
    for failure in pipeline.construct(options).last_run.failed:
        raise failure
