"""The plan: every item of a run, its key, whether it is cached, and if not, why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qairt import keys
from qairt.engine.axes import Coord, label, without
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import newest_by_item
from qairt.engine.cache.journal import cleared_at
from qairt.engine.cache.sentences import when_cleared
from qairt.engine.libraries import minor_versions
from qairt.engine.plan.cause import DAMAGED, NEVER, cause_of
from qairt.engine.plan.costs import CostHistory, Expectation, size_bucket
from qairt.engine.plan.demand import decide, kept_of
from qairt.engine.plan.key import StageFacts, interchangeable_entry, item_inputs
from qairt.engine.plan.machine_speed import MachineSpeed, kept_speed
from qairt.engine.plan.outputs import planned_outputs
from qairt.engine.plan.overrides import require_overrides_apply
from qairt.engine.plan.planned import Cause, Plan, PlannedItem, PlannedOutput, StagePlan
from qairt.engine.plan.reads import replaced_source
from qairt.engine.plan.stored_items import look_up
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.stage import AnyStage, Batch, Env, Expansion, Item, Stage, Task
from qairt.errors import ContractViolation
from qairt.machine import this_host
from qairt.recipe.settings import Keep


@dataclass(frozen=True)
class Planner:
    """Plans configured stages over one cache directory.

    Args:
        stages: in the order of the recipe.
        force: stages whose items run even if they are cached.
        model: the model's name in `output.extra`.
        uncached: stages whose items are not reused, because `enable_cache` is false.
        store: that other machines share results through; it is asked for what is not here.
    """

    stages: Sequence[AnyStage]
    env: Env
    cache: StageCache
    force: frozenset[str] = frozenset()
    model: str = ""
    uncached: frozenset[str] = frozenset()
    store: SharedStore | None = None
    keep: Keep | None = None
    """The recipe's."""
    asked: frozenset[str] = frozenset()
    """Names of items that are wanted whole, whatever else needs them."""
    finished: bool = False
    """It is asked what there is, not what a run would do."""

    def plan(self, made: frozenset[str] = frozenset()) -> Plan:
        """Expand every stage and look its items up.

        Args:
            made: names of items that this run made; they are reused even if their stage is forced.

        Raises:
            ContractViolation: a stage described work that its contract does not allow; names the stage.
            RecipeError: overrides of a stage's settings are for no item of it.
        """
        planning = _Planning(self, made)
        for stage in self.stages:
            planning.add(stage)
        plan = planning.plan
        plan.kept = kept_of(plan.stages, self.keep)
        plan.outputs = self.outputs(plan)
        if not self.finished:
            decide(plan, self.cache, self.asked)
            if self.store is not None:
                look_up(self.store, (item for item in plan.items if item.released is not None))
        return plan

    def outputs(self, plan: Plan, made: frozenset[str] = frozenset()) -> list[PlannedOutput]:
        """The predictions and pictures of a plan's stages, up to date or not.

        Args:
            made: names of items that this run made.
        """
        return planned_outputs(plan.stages, self.cache.cache_dir.parent, self.model, self.env, made=made)


class _Planning:
    """One plan in the making: stages are added in order."""

    def __init__(self, planner: Planner, made: frozenset[str]) -> None:
        self.plan = Plan(known={entry.key: entry for entry in planner.cache.entries()})
        self._env, self._cache, self._made = planner.env, planner.cache, made
        self._force, self._uncached = planner.force, planner.uncached
        self._store = planner.store
        self._fetched: set[str] = set()
        """Digests of what is fetched from it."""
        self._newest = newest_by_item(self.plan.known.values())
        self._costs = CostHistory(planner.cache.cache_dir)
        self._cleared = cleared_at(planner.cache.cache_dir)
        self._speed = kept_speed() or MachineSpeed()
        self._batch: dict[Coord, PlannedItem] = {}
        self._facets: dict[str, object] = {}
        """Of the stages so far."""
        self._told_apart: set[str] = set()
        """The stages that have facets."""
        self._stateful = False
        """This stage or one before it is never reused."""

    def add(self, stage: AnyStage) -> None:
        self._stateful = self._stateful or stage.stateful
        sources = {coord: item for coord, item in self._batch.items() if stage.applies_to(coord)}
        needs_artifacts = type(stage).dry_expand is not Stage.dry_expand
        described = not needs_artifacts or all(item.entry and item.entry.is_whole for item in sources.values())
        handles = {coord: self._handle(item, read=needs_artifacts and described) for coord, item in sources.items()}
        expansion = stage.expand(handles, self._env) if described else stage.dry_expand(handles, self._env)
        check_expansion(stage, handles, expansion, self._env, first=not self.plan.stages)
        require_overrides_apply(stage, expansion.tasks)
        facts = self._facts_of(stage)
        items = [self._item(stage, task, [sources[coord] for coord in task.sources], facts) for task in expansion.tasks]
        if self._store is not None:
            look_up(self._store, items, self._fetched)
        if not stage.is_side_branch:
            passing = {coord: item for coord, item in self._batch.items() if stage.adds_items or coord not in sources}
            self._batch = dict(sorted((passing | {item.coord: item for item in items}).items()))
        per_item = stage.artifact_kinds(self._env)
        self.plan.stages.append(
            StagePlan(
                stage=stage,
                items=items,
                batch=self._batch,
                expansion=expansion,
                artifacts=Counter({kind: count * len(items) for kind, count in per_item.items()}),
                details=_introspect(stage, handles, self._env, expansion.token),
                described=described,
            )
        )

    def _facts_of(self, stage: AnyStage) -> StageFacts:
        own = dict(stage.facets(self._env))
        read = stage.facets_read()
        found = StageFacts(
            facts=stage.cache_key_extras(self._env),
            facets={name: value for name, value in self._facets.items() if read is None or name in read} | own,
            libraries=minor_versions(stage.computed_with),
        )
        if own:
            self._facets |= own
            self._told_apart.add(stage.name)
        return found

    def _item(self, stage: AnyStage, task: Task, sources: list[PlannedItem], facts: StageFacts) -> PlannedItem:
        config = stage.config.at(task.coord)
        chained = [source for source in sources if source.stage.name not in self._told_apart]
        inputs = item_inputs(stage, task, config, chained, facts)
        key = keys.digest(inputs)
        last = self._newest.get((stage.name, task.label)) or self._newest.get((stage.name, label(task.coord)))
        if key not in self.plan.known and last is not None:
            earlier = item_inputs(stage, task, config, sources, StageFacts(stage.earlier_key_extras(self._env)))
            if (earlier_key := keys.digest(earlier)) in self.plan.known:
                inputs, key = earlier, earlier_key
        name = f"{stage.name} {task.label}"
        forced, uncached = stage.name in self._force, stage.name in self._uncached
        if task.interchangeable and not forced and key not in self.plan.known:
            found = interchangeable_entry(self.plan.known.values(), stage.name, inputs, task.interchangeable)
            if found is not None and self._cache.entry(found.key) is not None:
                inputs, key = found.inputs, found.key
        reusable = name in self._made or not (forced or uncached or self._stateful)
        entry = self._cache.entry(key) if reusable else None
        tools = str(dict(facts.facts).get("toolchain", ""))
        expected = self._expected(stage.name, task, tools)
        item = PlannedItem(
            stage=stage,
            task=task,
            config=config,
            sources=sources,
            key=key,
            inputs=inputs,
            entry=entry,
            last=last,
            expected=expected,
            bytes=min(entry.new_bytes, entry.bytes_here) if entry else expected.bytes,
            tools=tools,
        )
        if entry is not None and (source := replaced_source(item, entry)) is not None:
            item.entry, item.bytes, item.outdated = None, expected.bytes, True
            note = source.reason if source.outdated else f"{source.name} was built again, with another result"
            item.cause, item.reason = Cause("input", name, note=note), note
        elif entry is None and reusable and key in self._cleared:
            item.cleared = self._cleared[key]
            note = when_cleared(item.cleared, time.time(), "`qairt cache undo`")
            item.cause, item.reason = Cause("removed", name, note=note), note
        elif entry is None and reusable and self._cache.was_set_aside(stage.name, key):
            item.cause, item.reason = Cause("removed", name, note=DAMAGED), DAMAGED
        elif entry is None:
            never = "enable_cache is false" if uncached else NEVER if self._stateful else ""
            item.cause, item.reason = cause_of(item, self.plan.known, forced=forced, never=never)
        return item

    def _expected(self, stage: str, task: Task, tools: str) -> Expectation:
        """From history, or else from the stage's own estimate and the speed of this machine."""
        estimate = task.estimate
        past = self._costs.expect(
            stage,
            task.label,
            size=size_bucket(estimate.bytes),
            tools=tools,
            host=this_host(),
            estimate=estimate.seconds,
        )
        least = self._costs.not_enough(stage, task.label)
        if past.samples:
            return replace(past, peak_rss=max(past.peak_rss, least))
        scale = self._costs.scale(stage)
        seconds = self._speed.seconds(estimate) if scale is None else estimate.seconds * scale
        peak = max(estimate.peak_ram, least)
        return Expectation(seconds, low=0.0, high=0.0, peak_rss=peak, bytes=estimate.bytes, samples=0)

    def _handle(self, item: PlannedItem, *, read: bool) -> Item:
        return Item(
            stage=item.stage.name,
            coord=item.coord,
            key=item.key,
            directory=item.entry.directory if item.entry else None,
            output=self._cache.get(item.key, type(item.stage)) if read else None,
        )


def check_expansion(stage: AnyStage, batch: Batch, expansion: Expansion, env: Env, *, first: bool) -> None:
    """Check that labels are under the stage's own axes, coordinates are unique, and sources exist.

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


def _introspect(stage: AnyStage, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
    try:
        return stage.introspect(batch, env, token)
    except Exception as error:  # it only informs; the plan must not fail because of it
        return {"introspection failed": f"{type(error).__name__}: {error}"}
