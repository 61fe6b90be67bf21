"""One run of a pipeline: cached items are reused, the others made, and every step is an event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

from qairt.engine.axes import Coord
from qairt.engine.plan.memory import memory_warnings
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.reads import is_outdated, replaced_source
from qairt.engine.record import events as ev
from qairt.engine.record.control import RequestServer
from qairt.engine.record.state import RunState
from qairt.engine.record.summary import write_summary
from qairt.engine.record.tool_lines import last_lines
from qairt.engine.run.bookkeeping import Bookkeeping
from qairt.engine.run.capacity import Place
from qairt.engine.run.disk import disk_limit, require_space
from qairt.engine.run.executors import make_executor
from qairt.engine.run.failure_log import tell_in_log
from qairt.engine.run.history import add_run, sizes_on_disk
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.item_runner import ItemRunner
from qairt.engine.run.manifest_records import ManifestRecords
from qairt.engine.run.options import RunOptions, RunResult
from qairt.engine.run.output_run import OutputRun
from qairt.engine.run.publishing import publish
from qairt.engine.run.releases import Releases
from qairt.engine.run.remarks import emit_difference, emit_remarks
from qairt.engine.run.requests import RunRequests
from qairt.engine.run.scheduler import Outcome, Scheduler
from qairt.engine.run.setup import RunSetup
from qairt.engine.run.sharing import Sharing
from qairt.engine.run.stage_hooks import StageHooks
from qairt.engine.run.stage_metrics import StageMetrics
from qairt.engine.run.stop import Cancellations, Interrupted, TryAlone
from qairt.engine.run.stream import EventStream
from qairt.engine.stage import Stage
from qairt.errors import ContractViolation, ItemFailed, QairtError


class Run:
    """One run.

    Args:
        stream: where its events go.
        stop: set to end it; finished items are kept.
    """

    def __init__(self, setup: RunSetup, options: RunOptions, stream: EventStream, stop: threading.Event) -> None:
        self.handles_stop = False
        """It checks `stop` all the time: nobody needs to interrupt it."""
        self._setup, self._options, self._stream, self._stop = setup, options, stream, stop
        self._planner, self._folder = setup.planner, setup.folder
        self._cache = setup.planner.cache
        self._executed: list[str] = []
        self._cached: set[str] = set()
        self._failed: dict[str, ItemFailed] = {}
        self._tried_alone: set[str] = set()
        """Items that ran out of memory."""
        self._failed_outputs: dict[str, ItemFailed] = {}
        self._state = RunState()
        self._plan = Plan()
        self._records = ManifestRecords(setup.manifest, setup.recipe, setup.planner.env.configs, setup.not_kept)
        self._bookkeeping = Bookkeeping(stream)
        self._inputs = ItemInputs(self._cache, setup.planner.env)
        self._hooks = StageHooks(stream, self._record_stage, self._inputs)
        self._executor = make_executor(options, setup.planner, stream)
        self._items = ItemRunner(self._cache, setup.manifest, self._inputs, stream, self._executor, self._bookkeeping)
        self._sharing = Sharing(setup, stream, self._bookkeeping)
        self._cancellations = Cancellations(stop)
        self._requests = RunRequests(stop, self._state, self._cancellations)
        self._releases = Releases(self._cache, self._inputs, self._folder.id)
        self._metrics = StageMetrics(self._cache.cache_dir, self._state, stream.measurements)

    def execute(self) -> RunResult:
        """Run everything that can run.

        Raises:
            QairtError: nothing could start, or a stage described other items than promised.
        """
        started = time.time()
        with (
            self._stream.listening(self._state.apply, self._metrics.apply),
            self._stream.recording(self._folder.events),
        ):
            plan = self._plan = self._setup.plan()
            known = frozenset(plan.known)
            self._setup.keep(plan)
            self._setup.announce(plan, self._options, self._stream)
            self._sharing.tell()
            self._require_space(plan)
            self.handles_stop = True
            try:
                with RequestServer(self._folder, self._requests.answer, self._stream.emit):
                    with closing(self._executor):
                        plan = self._run_all(plan)
                    self._write_outputs(plan)
                items_status, status = self._items_status(), self._status()
                if items_status == "done":
                    self._publish(plan)
                    emit_remarks(plan, self._inputs, self._stream)
                    self._releases.close()
                self._bookkeeping.write("manifest", lambda: self._records.run_ended(plan))
                self._sharing.close(wait=status != "interrupted")
                self._finish(plan, status, round(time.time() - started, 3))
            finally:
                self.handles_stop = False
        try:
            output = self._inputs.result_of(plan) if items_status == "done" else None
        finally:
            self._delete_not_kept(plan, known)
        return RunResult(
            run_id=self._folder.id,
            status=status,
            plan=plan,
            executed=self._executed,
            failed=list(self._failed.values()),
            failed_outputs=list(self._failed_outputs.values()),
            output=output,
        )

    # Items

    def _run_all(self, plan: Plan) -> Plan:
        while True:
            # A stage that must read an artifact is described once that artifact exists.
            limit = next((i for i, planned in enumerate(plan.stages) if not planned.described), None)
            outcome = self._run_stages(plan, limit)
            if outcome.failed or outcome.skipped or (limit is None and not any(map(is_outdated, plan.items))):
                return plan
            before = plan
            plan = self._plan = self._planner.plan(made=frozenset(self._executed))
            if limit is not None and _coords(plan, limit) != _coords(before, limit):
                name = plan.stages[limit].stage.name
                raise ContractViolation("expand and dry_expand describe different items", where=f"stage {name}")

    def _run_stages(self, plan: Plan, limit: int | None) -> Outcome:
        """Run the items of the stages before `limit`."""
        todo = []
        for planned in plan.stages[:limit]:
            for item in planned.items:
                if item.cached:
                    self._note_cached(item)
                    self._sharing.add(item)
                elif item.runs:
                    todo.append(item)
        self._hooks.expect(todo)
        self._releases.follow(plan, self._options.asked)
        disk = disk_limit(plan, self._options, self._cache.cache_dir)
        scheduler = Scheduler(
            todo,
            self._make,
            self._executor.capacity(self._options, disk, self._inputs.reads_files),
            stop=self._stop,
            paused=self._requests.paused,
            on_blocked=self._blocked,
            on_unblocked=self._waiting_again,
        )
        self._requests.schedule(scheduler, todo)
        outcome = scheduler.run()
        for _, error in outcome.failed:
            if not isinstance(error, (ItemFailed, Interrupted)):
                raise error
        return outcome

    def _make(self, item: PlannedItem, place: Place, computed: Callable[[], None]) -> None:
        """Make an item, then release what nothing else reads."""
        self._make_one(item, place, computed)
        self._releases.ended(item)

    def _make_one(self, item: PlannedItem, place: Place, computed: Callable[[], None]) -> None:
        stage = item.stage
        log = self._folder.logs / f"{stage.name}.{item.label}.log"
        stop = self._cancellations.started(item.name)
        try:
            self._hooks.before(item)
            with self._items.locked(item, stop):
                again = stage.name in self._options.force | self._planner.uncached or item.never_reused
                found = None if again else self._cache.whole(item.key) or self._sharing.fetch(item, stop)
                item.entry = found if found is not None and replaced_source(item, found) is None else None
                if item.entry is not None:
                    self._note_cached(item)
                    return
                self._items.run(item, place, computed, log, stop)
                self._executed.append(item.name)
                self._cached.discard(item.key)
                emit_difference(item, self._stream)
                self._sharing.add(item)
        except Interrupted:
            self._blocked(item, None)
            raise
        except QairtError as error:
            failure = ItemFailed.from_error(error, stage=stage.name, label=item.label, log_tail=last_lines(log))
            usage = self._items.take_usage(item)
            if failure.out_of_memory:
                self._items.remember_memory(item, usage, place)
            if failure.out_of_memory and item.name not in self._tried_alone and not stop.is_set():
                self._tried_alone.add(item.name)
                message = f"{item.name} ran out of memory ({failure.what}): it is tried once more, alone"
                self._stream.emit(ev.LogLine(level="warning", message=message))
                raise TryAlone from error
            self._failed[item.name] = failure
            tell_in_log(log, failure)
            self._stream.emit(
                ev.ItemFailedEvent(
                    stage=stage.name, label=item.label, error=failure.as_dict(), log=str(log), **usage.model_dump()
                )
            )
            raise failure from error
        finally:
            self._cancellations.ended(item.name, finished=item.cached)
            self._hooks.after(item)

    def _require_space(self, plan: Plan) -> None:
        try:
            warning = require_space(plan, self._cache.cache_dir, self._options)
            self._executor.open()
        except QairtError as error:
            self._finish(plan, "failed", 0.0, str(error))
            raise
        tight = [] if self._options.scheduler else memory_warnings(plan, self._options.ram)
        for message in (warning, *tight):
            if message is not None:
                self._stream.emit(ev.LogLine(level="warning", message=message))

    def _note_cached(self, item: PlannedItem) -> None:
        if item.key not in self._cached and item.name not in self._executed:
            self._cached.add(item.key)
            self._stream.emit(ev.CacheHit(stage=item.stage.name, label=item.label, key=item.key))

    def _blocked(self, item: PlannedItem, cause: PlannedItem | None) -> None:
        """The item will not run, because of `cause` or a stop."""
        because = "the run was interrupted"
        kind: ev.SkipKind = "interrupted"
        if not self._stop.is_set():
            if cause is not None:
                how = "was cancelled" if cause.name in self._cancellations else "failed"
                because, kind = f"{cause.name} {how}", "blocked"
            elif item.name in self._cancellations:
                because, kind = "cancelled", "cancelled"
        self._stream.emit(ev.ItemSkipped(stage=item.stage.name, label=item.label, because=because, kind=kind))

    def _waiting_again(self, item: PlannedItem) -> None:
        """The item is retried."""
        self._cancellations.withdraw(item.name)
        self._failed.pop(item.name, None)
        self._hooks.expect([item])
        self._stream.emit(ev.ItemWaiting(stage=item.stage.name, label=item.label))

    # Results

    def _write_outputs(self, plan: Plan) -> None:
        writer = OutputRun(self._planner, self._inputs, self._stream, self._stop, self._folder.id)
        self._failed_outputs = writer.write(plan, frozenset(self._executed))

    def _publish(self, plan: Plan) -> None:
        for planned in plan.stages:
            if type(planned.stage).publish is not Stage.publish:
                batch = {item.coord: self._inputs.handle(item) for item in planned.items}
                with self._cache.linking(item.entry for item in planned.items if item.entry is not None):
                    kept = publish(planned.stage, batch, self._cache)
                if kept is not None:
                    name = planned.stage.name
                    message = (
                        f"{name} in {kept.parent} was changed since it was written: what differed is in {kept.name}"
                    )
                    self._stream.emit(ev.LogLine(level="warning", message=message))

    # Records

    def _record_stage(self, name: str) -> None:
        planned = next(planned for planned in self._plan.stages if planned.stage.name == name)
        self._bookkeeping.write("manifest", lambda: self._records.stage_ended(planned))

    def _delete_not_kept(self, plan: Plan, known: frozenset[str]) -> None:
        """Delete what this run made and nobody keeps.

        Args:
            known: keys of entries that were there before.
        """
        for item in plan.items:
            if item.stage.name in self._setup.not_kept and item.entry is not None and item.key not in known:
                self._cache.delete(item.entry)

    def _items_status(self) -> ev.EndStatus:
        if self._stop.is_set():
            return "interrupted"
        if self._failed:
            return "failed"
        return "interrupted" if self._cancellations else "done"

    def _status(self) -> ev.EndStatus:
        """Of outputs too."""
        status = self._items_status()
        return "failed" if status == "done" and self._failed_outputs else status

    def _finish(self, plan: Plan, status: ev.EndStatus, seconds: float, error: str = "") -> None:
        self._bookkeeping.write("metrics.json cannot be written", lambda: self._metrics.close(status))
        self._stream.emit(
            ev.RunFinished(
                status=status,
                seconds=seconds,
                executed=len(self._executed),
                cached=len(self._cached),
                failed=len(self._failed) + len(self._failed_outputs),
                error=error,
            )
        )
        with suppress(OSError):  # the run is over; its events and entries say the same
            sizes, size = sizes_on_disk([item.entry for item in plan.items if item.entry is not None])
            write_summary(self._folder, self._state, sizes, size)
            add_run(self._folder, sizes, size)


def _coords(plan: Plan, stage: int) -> set[Coord]:
    return {task.coord for task in plan.stages[stage].expansion.tasks}
