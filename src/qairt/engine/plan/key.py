"""What the key of an item is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.axes import label
from qairt.engine.cache.cache import key_inputs
from qairt.engine.cache.entry import mapping_in

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.engine.cache.entry import Entry
    from qairt.engine.plan.planned import PlannedItem
    from qairt.engine.stage import AnyStage, KeyFacts, StageConfig, Task

_ADDED = {"facets", "libraries"}
"""Left out where they are empty, so that keys without them are what they were before."""


@dataclass(frozen=True)
class StageFacts:
    """What the keys of all items of a stage contain."""

    facts: KeyFacts
    """From `cache_key_extras`."""
    facets: Mapping[str, object] = field(default_factory=dict)
    """Of this stage, and those that it reads of earlier ones."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """The minor versions of the packages that it computes with."""


def item_inputs(
    stage: AnyStage, task: Task, config: StageConfig, chained: Sequence[PlannedItem], stage_facts: StageFacts
) -> dict[str, JsonValue]:
    """Everything that enters an item's key, which is its digest.

    Args:
        chained: the sources whose keys it contains. A source whose stage has facets is not among them.
    """
    added = {"facets": stage_facts.facets, "libraries": stage_facts.libraries}
    extras = (
        ("version", stage.version),
        ("coordinate", label(task.coord)),
        ("params", keys.plain(task.params)),
        ("facts", stage_facts.facts),
        ("sources", {source.place: source.key for source in chained}),
        *((name, value) for name, value in added.items() if value),
    )
    upstream = keys.digest([source.key for source in chained]) if chained else None
    return key_inputs(stage.name, config, upstream, extras)


def interchangeable_entry(
    entries: Iterable[Entry], stage: str, inputs: Mapping[str, JsonValue], names: Sequence[str]
) -> Entry | None:
    """The newest entry of a stage whose inputs differ from `inputs` in the task parameters `names` alone."""
    wanted = _without_params(inputs, names)
    found = [each for each in entries if each.stage == stage and _without_params(each.inputs, names) == wanted]
    return max(found, key=lambda each: each.timestamp, default=None)


def _without_params(inputs: Mapping[str, JsonValue], names: Sequence[str]) -> dict[str, JsonValue]:
    extras = dict(mapping_in(inputs, "extras"))
    params = {name: value for name, value in mapping_in(extras, "params").items() if name not in names}
    return {**inputs, "extras": {**extras, "params": params}}


def is_earlier(then: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> bool:
    """Whether `then`, the inputs of an entry, is from before keys had facets and libraries, unlike `now`."""
    extras = mapping_in(then, "extras")
    return bool(extras) and not _ADDED & extras.keys() and bool(_ADDED & mapping_in(now, "extras").keys())
