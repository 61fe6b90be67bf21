"""The hooks of observers and the events around stages: called before the first item of a stage and after its last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record import events as ev
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.stream import EventStream
from qairt.engine.stage import StageInput


class StageHooks:
    """Follows which items of each stage are left in one run."""

    def __init__(self, stream: EventStream, record: Callable[[str], None], inputs: ItemInputs) -> None:
        """
        Args:
            record: called with the name of a stage that has finished.
        """
        self._stream, self._record, self._inputs = stream, record, inputs
        self._started: set[str] = set()
        self._left: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def expect(self, items: Iterable[PlannedItem]) -> None:
        """These items will run, or will run again."""
        with self._lock:
            for item in items:
                self._left.setdefault(item.stage.name, set()).add(item.name)

    def before(self, item: PlannedItem) -> None:
        """The item is about to run."""
        name = item.stage.name
        with self._lock:
            if name in self._started:
                return
            self._started.add(name)
        self._stream.emit(ev.StageStarted(stage=name))
        for observer in self._stream.observers:
            observer.run_before_stage(item.stage, item.stage.config, self._input(item))

    def after(self, item: PlannedItem) -> None:
        """The item has ended; if it finished the stage, the stage's record goes into the manifest."""
        name = item.stage.name
        with self._lock:
            self._left[name].discard(item.name)
            if self._left[name]:
                return
        if item.entry is not None:
            self._record(name)
            output = self._inputs.output(item)
            for observer in self._stream.observers:
                observer.run_after_stage(item.stage, item.stage.config, self._input(item), output)
        self._stream.emit(ev.StageFinished(stage=name))

    def _input(self, item: PlannedItem) -> StageInput:
        """What the item reads of its first source.

        Raises:
            CacheError: an entry that it reads is gone.
        """
        kind = item.stage.input_type
        return kind.model_validate(self._inputs.fields(item.stage, item.sources[0])) if item.sources else kind()
