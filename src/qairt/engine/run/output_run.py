"""The end of a run for people: what finished stages leave to read is written where it is not current."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.engine.plan.outputs import planned_outputs, stage_directory, wanted_kinds
from qairt.engine.plan.planned import Plan, PlannedItem, PlannedOutput
from qairt.engine.record import events as ev
from qairt.engine.run.executor import Interrupted
from qairt.engine.run.output_writer import Made, prepare, write_output
from qairt.engine.stage import AnyStage, Env, Item
from qairt.errors import ItemFailed, QairtError

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline


def prepare_outputs(stages: Sequence[AnyStage], cache_dir: Path) -> None:
    """Make sure before work starts that what is asked for can be written.

    Raises:
        CacheError: a folder cannot be; names it.
    """
    for stage in stages:
        for kind in wanted_kinds(stage):
            prepare(stage.config.output.folder(kind, stage_directory(cache_dir, stage)))


class OutputRun:
    """Writes the outputs of one run.

    Args:
        handle: an item with its output read.
        run_id: of the run that writes them.
    """

    def __init__(
        self, pipeline: Pipeline, env: Env, handle: Callable[[PlannedItem], Item], run_id: str, remade: frozenset[str]
    ) -> None:
        self._pipeline = pipeline
        self._env = env
        self._handle = handle
        self._run_id = run_id
        self._remade = remade

    def write(self, plan: Plan) -> dict[str, ItemFailed]:
        """Write what is not current, of every stage whose items are all made; a failure keeps nothing else from being
        written.

        Returns:
            Failures by name, such as `quantize prediction`.
        """
        pipeline = self._pipeline
        outputs = planned_outputs(plan.stages, pipeline.cache_dir, pipeline.model, remade=self._remade)
        failed: dict[str, ItemFailed] = {}
        for output in outputs:
            if not all(item.cached for item in output.items) or pipeline.stop.is_set():
                continue
            if f"{output.stage.name} prediction" in failed:  # the pages do without them
                output = replace(output, predictions=None)
            if output.current:
                self._say(output, "current")
                continue
            try:
                self._write(output)
            except Interrupted:
                return failed
            except Exception as error:  # a picture that cannot be drawn must not look like lost work
                failed[output.name] = failure = _as_failure(output, error)
                self._say(output, "failed", error=failure.as_dict())
        plan.outputs = outputs
        return failed

    def _write(self, output: PlannedOutput) -> None:
        started = time.time()
        self._say(output, "writing")

        def progress(fraction: float, message: str) -> None:
            if self._pipeline.stop.is_set():
                raise Interrupted
            self._say(output, "writing", fraction=fraction, message=message)

        batch = {item.coord: self._handle(item) for item in output.items}
        state = self._pipeline.state_folder
        made: Made = write_output(output, batch, self._env, state, run_id=self._run_id, progress=progress)
        for path in made.set_aside:
            note = f"{path.name} in {path.parent} was there before and is kept under that name"
            self._pipeline.emit(ev.LogLine(level="warning", message=f"{output.name}: {note}"))
        self._say(
            output,
            "written",
            files=tuple(str(path.relative_to(output.directory)) for path in made.files),
            bytes=made.bytes,
            seconds=round(time.time() - started, 3),
        )

    def _say(self, output: PlannedOutput, status: str, **more: Any) -> None:
        self._pipeline.emit(
            ev.OutputWritten.model_validate(
                {
                    "stage": output.stage.name,
                    "kind": output.kind,
                    "status": status,
                    "directory": str(output.directory),
                    "reason": output.reason,
                }
                | more
            )
        )


def _as_failure(output: PlannedOutput, error: Exception) -> ItemFailed:
    ours = isinstance(error, QairtError)
    return ItemFailed(
        error.what if isinstance(error, QairtError) else f"{type(error).__name__}: {error}",
        stage=output.stage.name,
        label=output.kind,
        where=error.where if isinstance(error, QairtError) else None,
        remedy=(error.remedy if isinstance(error, QairtError) else None)
        or ("its work is kept: run again" if ours else "its work is kept; this is a fault of the stage"),
    )
