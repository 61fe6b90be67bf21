"""One execution of a pipeline: what is cached is reused, the rest is made, everything is said as events."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from qairt.engine import events as ev
from qairt.engine.executor import Interrupted, Place, log_tail, make_executor
from qairt.engine.history import Cost, History
from qairt.engine.jobs import Job, import_path
from qairt.engine.machine import available_cores, available_memory
from qairt.engine.plan import Plan, PlannedItem
from qairt.engine.scheduler import Outcome, run_items
from qairt.engine.stage import Env, Item, Stage, StageInput, StageOutput
from qairt.errors import CacheError, ContractViolation, ItemFailed, QairtError

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline


@dataclass(frozen=True)
class RunOptions:
    """How to run, not what: none of this is part of any key."""

    jobs: int = field(default_factory=available_cores)
    memory: int = field(default_factory=available_memory)
    """Bytes that running items may use together."""
    executor: str = "process"
    until: str | None = None
    force: frozenset[str] = frozenset()


@dataclass
class RunResult:
    """How a run ended."""

    run_id: str
    status: str
    """done, failed or interrupted."""
    plan: Plan
    executed: list[str]
    failed: list[ItemFailed]
    output: Any = None
    """The items' outputs folded back by every stage's `reduce`."""


class Run:
    """One execution of a pipeline."""

    def __init__(self, pipeline: Pipeline, env: Env, options: RunOptions) -> None:
        self.pipeline = pipeline
        self.env = env
        self.options = options
        self.executor = make_executor(options.executor)
        self.history = History(pipeline.state_folder)
        self.id = time.strftime("%Y%m%d-%H%M%S") + "-" + uuid.uuid4().hex[:6]
        self.folder = Path()
        self.executed: list[str] = []
        self.cached: set[str] = set()
        self.failed: list[ItemFailed] = []
        self._announced: set[str] = set()
        self._left: dict[str, int] = {}
        self._outputs: dict[str, StageOutput] = {}
        self._costs: dict[str, list[Cost]] = {}
        self._lock = threading.Lock()

    def execute(self) -> RunResult:
        started = time.time()
        with self.pipeline.recording(self.id) as self.folder:
            plan = self.pipeline.plan_in(self.env, self.options)
            self._announce(plan)
            while True:
                # A stage that must look at an artifact is described when what it looks at was made.
                limit = next((i for i, planned in enumerate(plan.stages) if not planned.described), None)
                outcome = self._run_part(plan, limit)
                if limit is None or outcome.failed or self.pipeline.stop.is_set():
                    break
                promised = {task.coord for task in plan.stages[limit].expansion.tasks}
                plan = self.pipeline.plan_in(self.env, self.options, made=frozenset(self.executed))
                if {task.coord for task in plan.stages[limit].expansion.tasks} != promised:
                    name = plan.stages[limit].stage.name
                    raise ContractViolation("expand and dry_expand describe different items", where=f"stage {name}")
            status = "interrupted" if self.pipeline.stop.is_set() else "failed" if self.failed else "done"
            if status == "done":
                self._publish(plan)
            self._write_metrics()
            self.pipeline.emit(
                ev.RunFinished(
                    status=status,  # type: ignore[arg-type]
                    seconds=round(time.time() - started, 3),
                    executed=len(self.executed),
                    cached=len(self.cached),
                    failed=len(self.failed),
                )
            )
        output = self._fold(plan) if status == "done" else None
        return RunResult(self.id, status, plan, self.executed, self.failed, output)

    # Items

    def _run_part(self, plan: Plan, limit: int | None) -> Outcome:
        stages = plan.stages[:limit]
        todo = []
        for planned in stages:
            for item in planned.items:
                if item.cached:
                    self._note_cached(item)
                elif item.name not in self.executed:
                    todo.append(item)
            self._left[planned.stage.name] = sum(item in todo for item in planned.items)
        outcome = run_items(
            todo,
            self._make,
            jobs=self.options.jobs,
            memory=self.options.memory,
            cores=available_cores(),
            stop=self.pipeline.stop,
        )
        for _, error in outcome.failed:
            if not isinstance(error, (ItemFailed, Interrupted)):
                raise error
        for item, cause in outcome.skipped:
            because = f"{cause.name} failed" if cause else "the run was interrupted"
            self.pipeline.emit(ev.ItemSkipped(stage=item.stage.name, label=item.label, because=because))
        return outcome

    def _make(self, item: PlannedItem, threads: int, computed: Callable[[], None]) -> None:
        """Make one item, or take it from another run that made it meanwhile."""
        stage, cache = item.stage, self.pipeline.cache
        log = self.folder / "logs" / f"{stage.name}.{item.label}.log"
        forced = stage.name in self.options.force
        self._before(item)
        locks = self.pipeline.state_folder / "locks"
        locks.mkdir(exist_ok=True)
        try:
            with FileLock(locks / f"{item.key[:16]}.lock"):
                entry = None if forced or self._never_reused(item) else cache.entry(item.key)
                if entry is not None:
                    item.entry = entry
                    self._note_cached(item)
                    return
                self._run_and_publish(item, threads, computed, log)
        except Interrupted:
            self.pipeline.emit(ev.ItemSkipped(stage=stage.name, label=item.label, because="the run was interrupted"))
            raise
        except QairtError as error:
            failure = error if isinstance(error, ItemFailed) else self._as_failure(item, error, log)
            self.failed.append(failure)
            self.pipeline.emit(
                ev.ItemFailedEvent(stage=stage.name, label=item.label, error=failure.as_dict(), log=str(log))
            )
            raise failure from error
        finally:
            self._after(item)

    def _run_and_publish(self, item: PlannedItem, threads: int, computed: Callable[[], None], log: Path) -> None:
        pipeline, stage = self.pipeline, item.stage
        work = pipeline.cache.working_directory(stage.name, item.key)
        started = time.time()
        try:
            job = Job(
                stage=import_path(type(stage)),
                config=item.config.model_dump(mode="json", exclude={"overrides"}),
                task=item.task,
                inputs=[(source.coord, self._fields_for(stage, source)) for source in item.sources],
                directory=work,
                threads=threads,
            )
            pipeline.emit(
                ev.ItemStarted(
                    stage=stage.name, label=item.label, key=item.key, reason=item.reason, log=str(log), threads=threads
                )
            )

            def progress(fraction: float, message: str) -> None:
                pipeline.emit(ev.ItemProgress(stage=stage.name, label=item.label, fraction=fraction, message=message))

            place = Place(stage.name, item.label, log)
            peak = self.executor.run(job, place, progress, pipeline.stop)
            computed()
            self._refuse_changed_files(item, log)
            seconds = time.time() - started
            item.entry = pipeline.cache.publish(
                work, item.key, stage.name, item.label, inputs=item.inputs, seconds=seconds, peak_rss=peak
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._record(item, seconds, peak)

    def _record(self, item: PlannedItem, seconds: float, peak: int) -> None:
        pipeline, entry = self.pipeline, item.entry
        assert entry is not None
        self.executed.append(item.name)
        cost = Cost(
            stage=item.stage.name,
            label=item.label,
            key=item.key,
            seconds=round(seconds, 3),
            peak_rss=peak,
            bytes=entry.new_bytes,
            time=time.time(),
        )
        self.history.add(cost)
        with self._lock:
            self._costs.setdefault(cost.stage, []).append(cost)
        pipeline.manifest.update_item(
            item.stage.name,
            item.label,
            {"artifact_path": str(entry.directory), "cache_key": item.key, "seconds": cost.seconds, "peak_rss": peak},
        )
        pipeline.emit(
            ev.ItemFinished(
                stage=item.stage.name,
                label=item.label,
                key=item.key,
                seconds=cost.seconds,
                peak_rss=peak,
                bytes=entry.new_bytes,
                directory=str(entry.directory),
            )
        )

    def _refuse_changed_files(self, item: PlannedItem, log: Path) -> None:
        for path in self.env.files_read.get(item.stage.name, ()):
            if self.env.digests.changed_since_seen(path):
                raise ItemFailed(
                    f"{path} changed while this item read it",
                    stage=item.stage.name,
                    label=item.label,
                    remedy="its result was not kept; run again",
                    log_tail=log_tail(log),
                )

    def _fields_for(self, stage: Stage[Any, Any, Any], source: PlannedItem) -> dict[str, Any]:
        """The fields of the stage's input type, from the nearest output upstream that has them."""
        fields: dict[str, Any] = {}
        wanted = set(stage.input_type.model_fields)
        level = [source]
        while level and wanted:
            following: list[PlannedItem] = []
            for item in level:
                output = self._output(item)
                for name in list(wanted):
                    if name in type(output).model_fields:
                        fields[name] = output.model_dump(mode="json", include={name})[name]
                        wanted.discard(name)
                following += item.sources
            level = following
        return fields

    def _output(self, item: PlannedItem) -> StageOutput:
        with self._lock:
            known = self._outputs.get(item.key)
        if known is not None:
            return known
        output = self.pipeline.cache.get(item.key, type(item.stage))
        if output is None:
            raise CacheError(
                f"the result of {item.name} disappeared while it was needed",
                where=str(self.pipeline.state_folder / item.stage.name),
                remedy="run again: it is made anew",
            )
        with self._lock:
            self._outputs[item.key] = output
        return output

    def _handle(self, item: PlannedItem) -> Item:
        output = self._output(item)
        directory = item.entry.directory if item.entry else None
        return Item(stage=item.stage.name, coord=item.coord, key=item.key, directory=directory, output=output)

    def _never_reused(self, item: PlannedItem) -> bool:
        return item.stage.stateful or any(self._never_reused(source) for source in item.sources)

    def _as_failure(self, item: PlannedItem, error: QairtError, log: Path) -> ItemFailed:
        return ItemFailed(
            error.what,
            stage=item.stage.name,
            label=item.label,
            where=error.where,
            remedy=error.remedy,
            log_tail=log_tail(log),
        )

    # What is said around items and stages

    def _announce(self, plan: Plan) -> None:
        pipeline = self.pipeline
        pipeline.emit(
            ev.RunStarted(
                run_id=self.id,
                recipe=str(pipeline.recipe.source) if pipeline.recipe.source else "",
                cache_dir=str(pipeline.cache_dir),
                pid=os.getpid(),
                jobs=self.options.jobs,
                memory=self.options.memory,
                items=[
                    ev.PlannedEntry(
                        stage=item.stage.name,
                        label=item.label,
                        key=item.key,
                        cached=item.cached,
                        reason=item.reason,
                        seconds=item.seconds,
                        from_history=item.from_history,
                    )
                    for item in plan.items
                ],
            )
        )
        for note in pipeline.notes:
            pipeline.emit(ev.LogLine(level="warning", message=note))

    def _note_cached(self, item: PlannedItem) -> None:
        if item.key not in self.cached and item.name not in self.executed:
            self.cached.add(item.key)
            self.pipeline.emit(ev.CacheHit(stage=item.stage.name, label=item.label, key=item.key))

    def _before(self, item: PlannedItem) -> None:
        name = item.stage.name
        with self._lock:
            first = name not in self._announced
            self._announced.add(name)
        if first:
            self.pipeline.emit(ev.StageStarted(stage=name))
            for observer in self.pipeline.observers:
                observer.run_before_stage(item.stage, item.stage.config, StageInput())

    def _after(self, item: PlannedItem) -> None:
        name = item.stage.name
        with self._lock:
            self._left[name] -= 1
            last = self._left[name] == 0
        if not last:
            return
        entry = item.entry
        if entry is not None:
            self.pipeline.manifest.update(name, entry.directory.parent, item.stage.config, item.key)
            output = self._output(item)
            for observer in self.pipeline.observers:
                observer.run_after_stage(item.stage, item.stage.config, StageInput(), output)
        self.pipeline.emit(ev.StageFinished(stage=name))

    def _publish(self, plan: Plan) -> None:
        for planned in plan.stages:
            if type(planned.stage).publish is not Stage.publish:
                batch = {item.coord: self._handle(item) for item in planned.items}
                planned.stage.publish(batch, self.pipeline.cache_dir / planned.stage.name)

    def _write_metrics(self) -> None:
        """Costs of the stages that ran, over those of earlier runs; observers add what they measured."""
        metrics = self.pipeline.cache.read_metrics()
        for stage, costs in self._costs.items():
            metrics[stage] = {
                "items": len(costs),
                "seconds": round(sum(cost.seconds for cost in costs), 3),
                "peak_rss_mb": round(max(cost.peak_rss for cost in costs) / 2**20, 1),
                "bytes": sum(cost.bytes for cost in costs),
            }
        for observer in self.pipeline.observers:
            for stage, measured in observer.get_report().get("metrics", {}).items():
                metrics.setdefault(stage, {}).update(measured)
        self.pipeline.cache.write_metrics(metrics)

    def _fold(self, plan: Plan) -> Any:
        results: Any = {coord: self._output(item) for coord, item in plan.stages[-1].batch.items()}
        for planned in reversed(plan.stages):
            results = planned.stage.reduce(results, self.env, planned.expansion.token)
        return results
