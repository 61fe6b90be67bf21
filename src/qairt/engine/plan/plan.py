"""The plan: every item of a run, its key, whether it is cached, and if not, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qairt import keys
from qairt.engine.axes import Coord, label, without
from qairt.engine.cache.cache import StageCache, key_inputs
from qairt.engine.cache.entry import Entry
from qairt.engine.plan.cause import cause_of
from qairt.engine.plan.costs import CostHistory, size_bucket
from qairt.engine.plan.planned import Plan, PlannedItem, StagePlan
from qairt.engine.stage import AnyStage, Batch, Env, Expansion, Item, Stage, Task
from qairt.errors import ContractViolation
from qairt.machine import this_host


def make_plan(
    stages: Sequence[AnyStage],
    env: Env,
    cache: StageCache,
    history: CostHistory,
    *,
    force: frozenset[str] = frozenset(),
    made: frozenset[str] = frozenset(),
) -> Plan:
    """Expand every stage and look its items up.

    Args:
        stages: in the order of the recipe.
        force: stages whose items run though they are cached.
        made: names of items that this run made; they are reused, whatever else holds.

    Raises:
        ContractViolation: a stage described work that its contract does not allow; names the stage.
    """
    plan = Plan(known={entry.key: entry for entry in cache.entries()})
    batch: dict[Coord, PlannedItem] = {}
    latest = _latest(plan.known.values())
    stateful_seen = False
    for stage in stages:
        stateful_seen = stateful_seen or stage.stateful
        applies = {coord: item for coord, item in batch.items() if stage.applies_to(coord)}
        passing = {coord: item for coord, item in batch.items() if coord not in applies}
        looks = type(stage).dry_expand is not Stage.dry_expand
        described = not looks or all(item.cached for item in applies.values())
        handles = {coord: _handle(item, cache if looks and described else None) for coord, item in applies.items()}
        expansion = stage.expand(handles, env) if described else stage.dry_expand(handles, env)
        check_expansion(stage, handles, expansion, env, first=not plan.stages)
        extras = stage.cache_key_extras(env)
        items = [
            _planned(
                stage,
                task,
                applies,
                extras,
                cache,
                plan.known,
                latest,
                history,
                stage.name in force,
                stateful_seen,
                made,
            )
            for task in expansion.tasks
        ]
        if not stage.is_side_branch:
            batch = dict(sorted((passing | {item.coord: item for item in items}).items()))
        per_item = stage.artifact_kinds(env)
        plan.stages.append(
            StagePlan(
                stage=stage,
                items=items,
                batch=batch,
                expansion=expansion,
                artifacts=Counter({kind: count * len(items) for kind, count in per_item.items()}),
                details=_introspect(stage, handles, env, expansion.token),
                described=described,
            )
        )
    return plan


def check_expansion(stage: AnyStage, batch: Batch, expansion: Expansion, env: Env, *, first: bool) -> None:
    """Labels under its own axes, no coordinate twice, every source exists.

    Raises:
        ContractViolation: names the stage and the coordinate.
    """
    own = set(stage.axes(env))
    seen: set[Coord] = set()
    for task in expansion.tasks:
        where = f"stage {stage.name} at {label(task.coord)}"
        if task.coord in seen:
            raise ContractViolation("it describes this item twice", where=where)
        seen.add(task.coord)
        if not task.sources and not first:
            raise ContractViolation("its task has no source", where=where)
        inherited = tuple(pair for pair in task.coord if pair[0] not in own)
        for source in task.sources:
            if source not in batch:
                raise ContractViolation(f"its source {label(source)} does not exist", where=where)
            if without(source, stage.merges) != inherited:
                raise ContractViolation(
                    f"its source {label(source)} does not lead here: it opens {sorted(own) or 'no axis'}"
                    f" and merges {list(stage.merges) or 'none'}",
                    where=where,
                )


def _planned(
    stage: AnyStage,
    task: Task,
    batch: Mapping[Coord, PlannedItem],
    extras: Any,
    cache: StageCache,
    known: Mapping[str, Entry],
    latest: Mapping[tuple[str, str], Entry],
    history: CostHistory,
    forced: bool,
    stateful: bool,
    made: frozenset[str],
) -> PlannedItem:
    sources = [batch[coord] for coord in task.sources]
    config = stage.config.at(task.coord)
    upstream = keys.digest([source.key for source in sources]) if sources else None
    facts = (
        ("version", stage.version),
        ("coordinate", label(task.coord)),
        ("params", keys.plain(task.params)),
        ("facts", extras),
        ("sources", {source.name: source.key for source in sources}),
    )
    inputs = key_inputs(stage.name, config, upstream, facts)
    key = StageCache.compute_key(stage.name, config, upstream, facts)
    fresh = f"{stage.name} {label(task.coord)}" in made
    entry = cache.entry(key) if fresh or not (forced or stateful) else None
    estimate, tools = task.estimate, str(dict(extras).get("toolchain", ""))
    expected = history.expect(
        stage.name,
        label(task.coord),
        size=size_bucket(estimate.bytes),
        tools=tools,
        host=this_host(),
        estimate=estimate.seconds,
    )
    item = PlannedItem(
        stage=stage,
        coord=task.coord,
        task=task,
        config=config,
        sources=sources,
        key=key,
        inputs=inputs,
        entry=entry,
        last=latest.get((stage.name, label(task.coord))),
        reason="",
        cause=None,
        seconds=expected.seconds if expected.samples else estimate.seconds * history.scale(stage.name),
        peak_ram=expected.peak_rss if expected.samples else estimate.peak_ram,
        bytes=entry.new_bytes if entry else expected.bytes if expected.samples else estimate.bytes,
        from_history=expected.samples > 0,
        low=expected.low,
        high=expected.high,
        samples=expected.samples,
        tools=tools,
    )
    if entry is None:
        item.cause, item.reason = cause_of(item, known, forced=forced, never=stateful)
    return item


def _latest(entries: Iterable[Entry]) -> dict[tuple[str, str], Entry]:
    latest: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        known = latest.get((entry.stage, entry.label))
        if known is None or known.timestamp <= entry.timestamp:
            latest[entry.stage, entry.label] = entry
    return latest


def _handle(item: PlannedItem, cache: StageCache | None) -> Item:
    return Item(
        stage=item.stage.name,
        coord=item.coord,
        key=item.key,
        directory=item.entry.directory if item.entry else None,
        output=cache.get(item.key, type(item.stage)) if cache else None,
    )


def _introspect(stage: AnyStage, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
    try:
        return stage.introspect(batch, env, token)
    except Exception as error:  # introspection is for people; the plan must not break on it
        return {"introspection failed": f"{type(error).__name__}: {error}"}
