"""Which items a run makes: those that are wanted for themselves, and whatever these read.

1. A stage whose files are let go, or that is made on demand, is not wanted for itself: without an entry its items wait
   for somebody who reads them.
2. The last stage is always wanted, and so is what the user asks for or what a picture of this run shows.
3. An entry whose files were let go is as good as a whole one, unless an item that runs reads one of those files, or
   the item itself is asked for: then it is rebuilt, after what it is made from.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from qairt.engine.artifact import is_here
from qairt.engine.plan.planned import Cause, Plan, PlannedItem, StagePlan
from qairt.engine.plan.reads import read_by
from qairt.engine.stage import AnyStage, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qairt.engine.cache.cache import StageCache
    from qairt.recipe.settings import Keep

NOT_NEEDED = "on demand: no item reads it"
"""The reason of an item that does not run because nobody needs it."""
LARGE = 4_000_000_000
"""Bytes between the stages above which results alone are kept by default."""


def kept_of(stages: Collection[StagePlan], keep: Keep | None) -> Mapping[str, Keep]:
    """What each stage keeps.

    Args:
        keep: the recipe's.
    """
    between = (item for planned in stages if _is_between(planned.stage) for item in planned.items)
    default = keep or ("results" if sum(item.bytes for item in between) > LARGE else "all")
    return {planned.stage.name: planned.stage.config.keep or default for planned in stages}


def decide(plan: Plan, cache: StageCache, asked: Collection[str] = ()) -> None:
    """Find the items that nobody needs, and those that are rebuilt.

    Args:
        asked: names of items that are wanted whole.
    """
    whole = _shown(plan) | ({id(item) for item in _ends(plan)})
    read: dict[int, set[str]] = {}
    readers: dict[int, str] = {}
    for planned in reversed(plan.stages):
        for item in reversed(planned.items):
            fields = read.get(id(item), set())
            is_asked = item.name in asked
            if item.entry is None:
                item.on_demand = not (is_asked or fields or id(item) in whole or _is_wanted(plan, item))
                if item.on_demand:
                    item.reason, item.cleared = NOT_NEEDED, None
            elif not item.entry.is_whole and (
                is_asked or id(item) in whole or (fields and not _has(cache, item, fields))
            ):
                _rebuild(item, readers.get(id(item), ""))
            if item.runs:
                for source in item.sources:
                    for found, names in read_by(item.stage, source):
                        read.setdefault(id(found), set()).update(names)
                        readers.setdefault(id(found), item.name)
        if not planned.described:  # it is described by what its sources hold
            whole |= {id(source) for item in planned.items for source in item.sources}


def is_let_go(plan: Plan, stage: AnyStage) -> bool:
    """Whether the files of a stage's items are let go when nothing needs them any more."""
    if stage is plan.stages[-1].stage or _is_read_at_the_end(stage):
        return False
    keep = plan.kept.get(stage.name, "all")
    if stage.on_demand and stage.config.keep != "all":
        return True
    return stage.worth in {"all": (), "results": ("intermediate",), "bundle": ("intermediate", "result")}[keep]


def _is_between(stage: AnyStage) -> bool:
    return stage.worth == "intermediate" and not stage.on_demand and stage.config.keep is None


def _is_read_at_the_end(stage: AnyStage) -> bool:
    """Every run that has its items shows them, or tells of them."""
    return type(stage).publish is not Stage.publish or type(stage).remarks is not Stage.remarks


def _is_wanted(plan: Plan, item: PlannedItem) -> bool:
    cause = item.cause.kind if item.cause is not None else ""
    return not is_let_go(plan, item.stage) or cause == "forced" or (cause == "never" and not item.stage.on_demand)


def _ends(plan: Plan) -> list[PlannedItem]:
    last = plan.stages[-1] if plan.stages else None
    return [] if last is None else [*last.items, *last.batch.values()]


def _shown(plan: Plan) -> set[int]:
    """The items of outputs that are written; a stage on demand is shown when it is made."""
    due = [output for output in plan.outputs if not output.current and not output.stage.on_demand]
    return {id(item) for output in due for item in output.items}


def _has(cache: StageCache, item: PlannedItem, fields: Collection[str]) -> bool:
    entry = item.entry
    output = cache.get(item.key, type(item.stage), in_part=True)
    return entry is not None and output is not None and is_here(output, fields, entry.directory, entry.released)


def _rebuild(item: PlannedItem, reader: str) -> None:
    why = f"{reader} reads its files, which were released" if reader else "its files were released"
    item.released, item.entry = item.entry, None
    item.cause, item.reason = Cause("released", item.name, note=why), why
    item.bytes = item.expected.bytes
