"""Fetching what the shared store has of a pipeline, without building anything."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qairt.engine.cache.manifest import item_record
from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.run.fetching import fetch
from qairt.engine.shared_store.patience import Pending
from qairt.engine.shared_store.shared_store import SharedStore

_AT_ONCE = 4


@dataclass
class Pulled:
    """What came of it."""

    here: int = 0
    """Items that were there before."""
    fetched: list[PlannedItem] = field(default_factory=list)
    failed: list[PlannedItem] = field(default_factory=list)
    """The store has them and could not give them."""
    not_stored: list[PlannedItem] = field(default_factory=list)


def pull(
    pipeline: Pipeline,
    store: SharedStore,
    told: Callable[[PlannedItem], None] = lambda item: None,
) -> Pulled:
    """Fetch every item of the plan that the store has.

    Args:
        told: called with each item that arrived, from several threads.

    Raises:
        QairtError: the settings cannot work, or the cache directory cannot be written.
    """
    pipeline.cache.prepare()
    if pipeline.recipe:
        pipeline.recipe.to_yaml(pipeline.state_folder / "recipe.yaml")
    plan = pipeline.plan()
    pulled = Pulled(here=sum(item.cached for item in plan.items))
    failed: set[str] = set()
    while todo := [item for item in plan.to_fetch() if item.name not in failed]:
        arrived = _fetch_all(pipeline, store, todo, told)
        pulled.fetched += arrived
        failed |= {item.name for item in todo} - {item.name for item in arrived}
        plan = pipeline.plan()  # a stage that must read an artifact is described once that is here
    pulled.failed = [item for item in plan.to_run() if item.name in failed]
    pulled.not_stored = [item for item in plan.to_run() if item.name not in failed]
    return pulled


def _fetch_all(
    pipeline: Pipeline, store: SharedStore, items: Sequence[PlannedItem], told: Callable[[PlannedItem], None]
) -> list[PlannedItem]:
    todo, arrived, over = deque(items), list[PlannedItem](), threading.Event()

    def check() -> None:
        if over.is_set():
            raise _Over

    def some() -> None:
        while (item := _next(todo)) is not None:
            if item.stored is None:
                continue
            entry = fetch(store, pipeline.cache, item, item.stored, check=check)
            if entry is not None:
                pipeline.manifest.update_item(item.stage.name, item.label, item_record(entry))
                arrived.append(item)
                told(item)

    pending = [Pending(some) for _ in range(min(_AT_ONCE, len(items)))]
    try:
        for each in pending:
            while not each.ended(1.0):
                pass
            each.result()
    finally:
        over.set()
    return arrived


def _next(todo: deque[PlannedItem]) -> PlannedItem | None:
    try:
        return todo.popleft()
    except IndexError:  # another thread took the last
        return None


class _Over(Exception):  # noqa: N818 - it is not an error
    """Nobody waits any more."""
