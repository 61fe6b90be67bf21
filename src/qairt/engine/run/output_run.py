"""The end of a run: predictions and pictures of finished stages are written where they are out of date."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qairt.engine.plan.outputs import requested_kinds, stage_directory
from qairt.engine.plan.plan import Planner
from qairt.engine.plan.planned import Plan, PlannedOutput
from qairt.engine.record import events as ev
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.output_writer import prepare, write_output
from qairt.engine.run.stop import Interrupted
from qairt.engine.run.stream import EventStream
from qairt.engine.stage import AnyStage
from qairt.errors import ItemFailed, QairtError


def prepare_outputs(stages: Sequence[AnyStage], cache_dir: Path) -> None:
    """Check before work starts that the requested outputs can be written.

    Raises:
        CacheError: a folder cannot be written; names it.
    """
    for stage in stages:
        for kind in requested_kinds(stage):
            prepare(stage.config.output.folder(kind, stage_directory(cache_dir, stage)))


class OutputRun:
    """Writes the outputs of one run.

    Args:
        stop: set to end the run.
        run_id: of the run that writes them.
    """

    def __init__(
        self, planner: Planner, inputs: ItemInputs, stream: EventStream, stop: threading.Event, run_id: str
    ) -> None:
        self._planner, self._inputs, self._stream = planner, inputs, stream
        self._stop = stop
        self._run_id = run_id

    def write(self, plan: Plan, made: frozenset[str]) -> dict[str, ItemFailed]:
        """Write what is out of date, of every stage whose items are all finished; a failure does not stop the others.

        Args:
            made: names of items that this run made.

        Returns:
            Failures by name, such as `quantize prediction`.
        """
        plan.outputs = self._planner.outputs(plan, made)
        failed: dict[str, ItemFailed] = {}
        for output in plan.outputs:
            if not all(item.cached for item in output.items) or self._stop.is_set():
                continue
            if f"{output.stage.name} prediction" in failed:  # the pictures do without them
                output = replace(output, predictions=None)
            if output.current:
                self._stream.emit(_event(output, "current"))
                continue
            try:
                self._write(output)
            except Interrupted:
                return failed
            except Exception as error:  # a picture that cannot be drawn must not look like lost work
                failed[output.name] = failure = _as_failure(output, error)
                self._stream.emit(_event(output, "failed").model_copy(update={"error": failure.as_dict()}))
        return failed

    def _write(self, output: PlannedOutput) -> None:
        started = time.time()
        writing = _event(output, "writing")
        self._stream.emit(writing)

        def progress(fraction: float, message: str) -> None:
            if self._stop.is_set():
                raise Interrupted
            self._stream.emit(_event(output, "writing").model_copy(update={"fraction": fraction, "message": message}))

        cache, env = self._planner.cache, self._planner.env
        with cache.readers.reading(item.key for item in output.items):
            items = {item.coord: self._inputs.handle(item) for item in output.items}
            written = write_output(output, items, env, cache.cache_dir, run_id=self._run_id, progress=progress)
        for path in written.renamed:
            note = f"{path.name} in {path.parent} was there before and is kept under this name"
            self._stream.emit(ev.LogLine(level="warning", message=f"{output.name}: {note}"))
        result = {
            "files": tuple(str(path.relative_to(output.directory)) for path in written.files),
            "bytes": written.bytes,
            "seconds": round(time.time() - started, 3),
        }
        self._stream.emit(_event(output, "written").model_copy(update=result))


def _event(output: PlannedOutput, status: ev.OutputStatus) -> ev.OutputWritten:
    return ev.OutputWritten(
        stage=output.stage.name,
        kind=output.kind,
        status=status,
        directory=str(output.directory),
        reason=output.reason,
    )


def _as_failure(output: PlannedOutput, error: Exception) -> ItemFailed:
    is_bug = not isinstance(error, QairtError)
    remedy = "the items are kept; this is a bug in the stage" if is_bug else "the items are kept: run again"
    return ItemFailed.from_error(error, stage=output.stage.name, label=output.kind, remedy=remedy)
