"""One execution of a pipeline: what is cached is reused, the rest is made, everything is said as events."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from qairt.engine.cache.entry import NewEntry
from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.costs import Cost, CostHistory
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.tools import tools_of
from qairt.engine.record import events as ev
from qairt.engine.record.control import RequestServer
from qairt.engine.record.folder import Request, RunFolder
from qairt.engine.record.state import BUSY, RunState
from qairt.engine.record.summary import write_summary
from qairt.engine.run.executor import Interrupted, Place, Stop, make_executor
from qairt.engine.run.history import add_run
from qairt.engine.run.jobs import Job, import_path
from qairt.engine.run.options import RunOptions, RunResult
from qairt.engine.run.output_run import OutputRun
from qairt.engine.run.scheduler import Outcome, Scheduler
from qairt.engine.run.stage_metrics import StageMetrics
from qairt.engine.run.usage import Usage
from qairt.engine.stage import AnyStage, Env, Item, Stage, StageInput, StageOutput
from qairt.errors import CacheError, ContractViolation, ItemFailed, QairtError
from qairt.files import log_tail
from qairt.machine import available_cores, this_host, total_memory

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline


class Run:
    """One execution of a pipeline."""

    def __init__(self, pipeline: Pipeline, env: Env, options: RunOptions) -> None:
        self.pipeline = pipeline
        self.env = env
        self.options = options
        self.executor = make_executor(options.executor)
        self.history = CostHistory(pipeline.state_folder)
        self.state = RunState()
        self.executed: list[str] = []
        self.cached: set[str] = set()
        self.failed: dict[str, ItemFailed] = {}
        self.failed_outputs: dict[str, ItemFailed] = {}
        self._folder: RunFolder
        self._scheduler: Scheduler | None = None
        self._paused = threading.Event()
        self._items: dict[tuple[str, str], PlannedItem] = {}
        self._stops: dict[str, Stop] = {}
        """Of the items that run."""
        self._cancelled: set[str] = set()
        self._announced: set[str] = set()
        self._left: dict[str, set[str]] = {}
        self._outputs: dict[str, StageOutput] = {}
        self._usage: dict[str, Usage] = {}
        """Of items whose process said what it used."""
        self._metrics = StageMetrics(pipeline.cache, self._measured)
        self._lock = threading.Lock()

    def execute(self) -> RunResult:
        started = time.time()
        self.pipeline.add_listener(self.state.apply)
        self.pipeline.add_listener(self._metrics.apply)
        try:
            with self.pipeline.recording() as self._folder:
                plan = self.pipeline.plan_in(self.env, self.options)
                self._keep(plan)
                self._announce(plan)
                self.pipeline.handles_stop = True
                with RequestServer(self._folder, self._answer, self.pipeline.emit):
                    plan = self._run_all(plan)
                    self._write_outputs(plan)
                made, status = self._made(), self._status()
                if made == "done":
                    self._publish(plan)
                self._close_metrics(status)
                self.pipeline.emit(
                    ev.RunFinished(
                        status=status,
                        seconds=round(time.time() - started, 3),
                        executed=len(self.executed),
                        cached=len(self.cached),
                        failed=len(self.failed) + len(self.failed_outputs),
                    )
                )
                write_summary(self._folder, self.state)
                add_run(self._folder, [item.entry for item in plan.items if item.entry is not None])
        finally:
            self.pipeline.handles_stop = False
            self.pipeline.remove_listener(self._metrics.apply)
            self.pipeline.remove_listener(self.state.apply)
        output = self._fold(plan) if made == "done" else None
        failed, outputs = list(self.failed.values()), list(self.failed_outputs.values())
        return RunResult(self._folder.id, status, plan, self.executed, failed, outputs, output)

    # Items

    def _run_all(self, plan: Plan) -> Plan:
        while True:
            # A stage that must look at an artifact is described when what it looks at was made.
            limit = next((i for i, planned in enumerate(plan.stages) if not planned.described), None)
            outcome = self._run_part(plan, limit)
            if limit is None or outcome.failed or outcome.skipped:
                return plan
            promised = {task.coord for task in plan.stages[limit].expansion.tasks}
            plan = self.pipeline.plan_in(self.env, self.options, made=frozenset(self.executed))
            if {task.coord for task in plan.stages[limit].expansion.tasks} != promised:
                name = plan.stages[limit].stage.name
                raise ContractViolation("expand and dry_expand describe different items", where=f"stage {name}")

    def _run_part(self, plan: Plan, limit: int | None) -> Outcome:
        todo = []
        for planned in plan.stages[:limit]:
            for item in planned.items:
                if item.cached:
                    self._note_cached(item)
                elif item.name not in self.executed:
                    todo.append(item)
            self._left[planned.stage.name] = {item.name for item in planned.items if item in todo}
        self._items = {(item.stage.name, item.label): item for item in todo}
        self._scheduler = Scheduler(
            todo,
            self._make,
            jobs=self.options.jobs,
            memory=self.options.memory,
            cores=available_cores(),
            stop=self.pipeline.stop,
            paused=self._paused,
            blocked=self._tell_blocked,
            unblocked=self._tell_waiting,
        )
        outcome = self._scheduler.run()
        for _, error in outcome.failed:
            if not isinstance(error, (ItemFailed, Interrupted)):
                raise error
        return outcome

    def _status(self) -> Literal["done", "failed", "interrupted"]:
        """What was asked for and could not be written counts as failed too."""
        made = self._made()
        return "failed" if made == "done" and self.failed_outputs else made

    def _made(self) -> Literal["done", "failed", "interrupted"]:
        """How it went with the items."""
        if self.pipeline.stop.is_set():
            return "interrupted"
        if self.failed:
            return "failed"
        return "interrupted" if self._cancelled else "done"

    def _tell_blocked(self, item: PlannedItem, cause: PlannedItem | None) -> None:
        skipped = ev.ItemSkipped(stage=item.stage.name, label=item.label, because="the run was interrupted")
        if self.pipeline.stop.is_set():
            told = {"kind": "interrupted"}
        elif cause is not None:
            how = "was cancelled" if cause.name in self._cancelled else "failed"
            told = {"because": f"{cause.name} {how}", "kind": "blocked"}
        elif item.name in self._cancelled:
            told = {"because": "cancelled", "kind": "cancelled"}
        else:
            told = {"kind": "interrupted"}
        self.pipeline.emit(skipped.model_copy(update=told))

    def _tell_waiting(self, item: PlannedItem) -> None:
        self._cancelled.discard(item.name)
        self.failed.pop(item.name, None)
        self._left[item.stage.name].add(item.name)
        self.pipeline.emit(ev.ItemWaiting(stage=item.stage.name, label=item.label))

    # What watchers ask for

    def _answer(self, request: Request) -> tuple[bool, str]:
        scheduler = self._scheduler
        if scheduler is None:
            return False, "the run has not begun yet"
        match request.action:
            case "cancel_run":
                self.pipeline.stop.set()
                scheduler.look()
                return True, "the run ends: what runs is stopped, finished items are kept"
            case "cancel_item":
                return self._cancel(scheduler, request.stage, request.label)
            case "pause":
                self._paused.set()
                return True, "paused: what runs goes on, nothing new starts"
            case "resume":
                self._paused.clear()
                scheduler.look()
                return True, "going on"
            case "retry":
                if not self.failed and not self._cancelled:
                    return False, "nothing failed"
                scheduler.retry()
                return True, "trying again what failed"
        return False, f"this version of qairt cannot {request.action}"

    def _cancel(self, scheduler: Scheduler, stage: str, label: str) -> tuple[bool, str]:
        item = self._items.get((stage, label))
        state = self.state.items.get((stage, label))
        if item is None or state is None or state.status not in BUSY | {"waiting", "ready"}:
            return False, f"{stage} {label} is not waiting or running"
        with self._lock:
            self._cancelled.add(item.name)
            stop = self._stops.get(item.name)
        if stop is not None:
            stop.cancel()
            return True, f"{item.name} is being stopped, unless it has just finished"
        scheduler.cancel(item)
        return True, f"{item.name} is cancelled"

    def _make(self, item: PlannedItem, threads: int, computed: Callable[[], None]) -> None:
        """Make one item, or take it from another run that made it meanwhile."""
        stage, cache = item.stage, self.pipeline.cache
        log = self._folder.logs / f"{stage.name}.{item.label}.log"
        forced = stage.name in self.options.force
        with self._lock:
            stop = self._stops[item.name] = Stop(self.pipeline.stop)
            if item.name in self._cancelled:  # after it was chosen to start
                stop.cancel()
        self._before(item)
        try:
            with self._alone(item, stop):
                entry = None if forced or self._never_reused(item) else cache.entry(item.key)
                if entry is not None:
                    item.entry = entry
                    self._note_cached(item)
                    return
                self._run_and_publish(item, threads, computed, log, stop)
        except Interrupted:
            self._tell_blocked(item, None)
            raise
        except QairtError as error:
            failure = error if isinstance(error, ItemFailed) else self._as_failure(item, error, log)
            self.failed[item.name] = failure
            used = self._usage.pop(item.name, Usage())
            self.pipeline.emit(
                ev.ItemFailedEvent(
                    stage=stage.name, label=item.label, error=failure.as_dict(), log=str(log), **used.model_dump()
                )
            )
            raise failure from error
        finally:
            with self._lock:
                self._stops.pop(item.name, None)
                if item.cached:
                    self._cancelled.discard(item.name)
            self._after(item)

    @contextmanager
    def _alone(self, item: PlannedItem, stop: Stop) -> Iterator[None]:
        """Hold the lock of this item's key; while another run makes the same, wait and say so."""
        locks = self.pipeline.state_folder / "locks"
        locks.mkdir(exist_ok=True)
        lock = FileLock(locks / f"{item.key[:16]}.lock")
        told = False
        while True:
            try:
                lock.acquire(timeout=0.25 if told else 0)
                break
            except Timeout:
                if stop.is_set():
                    raise Interrupted from None
                if not told:
                    self.pipeline.emit(ev.ItemShared(stage=item.stage.name, label=item.label))
                    told = True
        try:
            yield
        finally:
            lock.release()

    def _run_and_publish(
        self, item: PlannedItem, threads: int, computed: Callable[[], None], log: Path, stop: Stop
    ) -> None:
        pipeline, stage = self.pipeline, item.stage
        work = pipeline.cache.working_directory(stage.name, item.key)
        resume = pipeline.cache.resume_directory(stage.name, item.key)
        started = time.time()
        try:
            job = Job(
                stage=import_path(type(stage)),
                config=item.config.model_dump(mode="json", exclude={"overrides"}),
                task=item.task,
                inputs=[(source.coord, self._fields_for(stage, source)) for source in item.sources],
                directory=work,
                resume=resume,
                threads=threads,
            )
            pipeline.emit(
                ev.ItemStarted(
                    stage=stage.name, label=item.label, key=item.key, reason=item.reason, log=str(log), threads=threads
                )
            )

            def progress(fraction: float, message: str) -> None:
                pipeline.emit(ev.ItemProgress(stage=stage.name, label=item.label, fraction=fraction, message=message))

            def use(usage: Usage) -> None:
                self._usage[item.name] = usage

            self.executor.run(job, Place(stage.name, item.label, log), progress, stop, use)
            computed()
            self._refuse_changed_files(item, log)
            seconds = time.time() - started
            peak = self._usage.get(item.name, Usage()).peak_rss
            item.entry = pipeline.cache.publish(
                work, NewEntry(item.key, stage.name, item.label, item.inputs, seconds, peak)
            )
            shutil.rmtree(resume, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._record(item, seconds)

    def _record(self, item: PlannedItem, seconds: float) -> None:
        pipeline, entry = self.pipeline, item.entry
        usage = self._usage.pop(item.name, Usage())
        assert entry is not None
        self.executed.append(item.name)
        cost = Cost(
            stage=item.stage.name,
            label=item.label,
            key=item.key,
            seconds=round(seconds, 3),
            peak_rss=usage.peak_rss,
            bytes=entry.new_bytes,
            time=time.time(),
            host=this_host(),
            tools=item.tools,
            size=item.size,
            estimate=item.task.estimate.seconds,
        )
        self.history.add(cost)
        pipeline.manifest.update_item(
            item.stage.name,
            item.label,
            {
                "artifact_path": str(entry.directory),
                "cache_key": item.key,
                "seconds": cost.seconds,
                "peak_rss": cost.peak_rss,
            },
        )
        pipeline.emit(
            ev.ItemFinished(
                stage=item.stage.name,
                label=item.label,
                key=item.key,
                seconds=cost.seconds,
                bytes=entry.new_bytes,
                size=entry.bytes,
                directory=str(entry.directory),
                **usage.model_dump(),
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

    def _fields_for(self, stage: AnyStage, source: PlannedItem) -> dict[str, Any]:
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

    def _keep(self, plan: Plan) -> None:
        """What this run was asked for, beside its events."""
        pipeline = self.pipeline
        if pipeline.recipe:
            pipeline.recipe.to_yaml(self._folder.path / "recipe.yaml")
        configs = {stage.name: stage.config.model_dump(mode="json") for stage in pipeline.configured_stages}
        settings = pipeline.settings.model_dump(mode="json") if pipeline.settings is not None else {}
        self._folder.write("resolved.json", {"settings": settings, "stages": configs})
        self._folder.write("plan.json", plan.as_dict())
        self._folder.write("tools.json", tools_of(plan))

    def _announce(self, plan: Plan) -> None:
        pipeline = self.pipeline
        pipeline.emit(
            ev.RunStarted(
                run_id=self._folder.id,
                recipe=str(pipeline.recipe.source) if pipeline.recipe.source else "",
                cache_dir=str(pipeline.cache_dir),
                pid=os.getpid(),
                host=socket.gethostname(),
                jobs=self.options.jobs,
                cores=available_cores(),
                memory=self.options.memory,
                ram=total_memory(),
                items=planned_entries(plan),
            )
        )
        for level, notes in (("info", pipeline.notices), ("warning", pipeline.warnings)):
            for note in notes:
                pipeline.emit(ev.LogLine.model_validate({"level": level, "message": note}))

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
            self._left[name].discard(item.name)
            last = not self._left[name]
        if not last:
            return
        entry = item.entry
        if entry is not None:
            self.pipeline.manifest.update(name, entry.directory.parent, item.stage.config, item.key)
            output = self._output(item)
            for observer in self.pipeline.observers:
                observer.run_after_stage(item.stage, item.stage.config, StageInput(), output)
        self.pipeline.emit(ev.StageFinished(stage=name))

    def _write_outputs(self, plan: Plan) -> None:
        remade = frozenset(self.executed)
        self.failed_outputs = OutputRun(self.pipeline, self.env, self._handle, self._folder.id, remade).write(plan)

    def _publish(self, plan: Plan) -> None:
        for planned in plan.stages:
            if type(planned.stage).publish is not Stage.publish:
                batch = {item.coord: self._handle(item) for item in planned.items}
                planned.stage.publish(batch, self.pipeline.cache_dir / planned.stage.name)

    def _measured(self) -> dict[str, dict[str, Any]]:
        """What observers measured so far, by stage."""
        found: dict[str, dict[str, Any]] = {}
        for observer in self.pipeline.observers:
            for stage, measured in observer.get_report().get("metrics", {}).items():
                found.setdefault(stage, {}).update(measured)
        return found

    def _close_metrics(self, status: Literal["done", "failed", "interrupted"]) -> None:
        try:
            self._metrics.close(status)
        except OSError as error:
            message = f"metrics.json cannot be written: {error.strerror or error}"
            self.pipeline.emit(ev.LogLine(level="warning", message=message))

    def _fold(self, plan: Plan) -> Any:
        results: Any = {coord: self._output(item) for coord, item in plan.stages[-1].batch.items()}
        for planned in reversed(plan.stages):
            if not planned.stage.is_side_branch:
                results = planned.stage.reduce(results, self.env, planned.expansion.token)
        return results
