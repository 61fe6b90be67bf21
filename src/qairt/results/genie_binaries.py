"""The binaries that Genie runs on this machine: one per finished part and context length, taken from the cache or
compiled one by one.

    pipeline_state/genie_binary/genie_binary_{key[:8]}/    one graph, whole or not at all

A binary in the cache is not compiled again, so an interrupted build resumes at the next part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from qairt.amounts import about, count, duration, size
from qairt.engine.axes import Coord, value_of
from qairt.engine.cache.cache import key_inputs
from qairt.engine.cache.entry import NewEntry
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.run.executor import ItemLog, ProcessExecutor
from qairt.engine.run.jobs import Job, import_path
from qairt.engine.run.stop import Stop
from qairt.engine.run.usage import Usage
from qairt.engine.stage import Env, StageOutput, Task
from qairt.errors import CacheError, RecipeError
from qairt.folders import remove_left
from qairt.keys import digest
from qairt.notify import Notify
from qairt.results.finished import FinishedRun
from qairt.results.genie_binary import GenieBinary, GenieBinaryConfig, OneGraphBinary
from qairt.runtime.heartbeat import heartbeat

AR = 1
"""Genie reads a prompt token by token, with the only graph in each binary; a text to embed in one call."""


@dataclass(frozen=True)
class _Binary:
    """The binary of one part, and what compiling it takes."""

    item: PlannedItem
    task: Task
    config: GenieBinaryConfig
    inputs: dict[str, Any]

    @property
    def key(self) -> str:
        return digest(self.inputs)

    @property
    def name(self) -> str:
        length = "".join(f", context {value}" for axis, value in self.item.coord if axis == "cl")
        return f"part {self.task.params['part']} of {self.task.params['of']}{length}"


class GenieBinaries:
    """The binaries of some context lengths: Genie runs the shortest that a token fits."""

    def __init__(self, run: FinishedRun, context_lengths: Collection[int], *, ar: int = AR) -> None:
        """
        Args:
            context_lengths, ar: of the graphs.

        Raises:
            RecipeError: the recipe builds nothing for the NPU, has no stage quantize or no AR 1.
            CacheError: a part is not quantized yet.
        """
        self._run = run
        self._cache = run.cache
        if run.settings.backend != "HTP":
            raise RecipeError(
                "Genie runs graphs compiled for the NPU, and backend: CPU builds none",
                where="backend",
                remedy="set backend: HTP, or use --target cpu",
            )
        items = next((planned.items for planned in run.plan.stages if planned.stage.name == "quantize"), [])
        self.items = [item for item in items if _is_of(item.coord, ar, context_lengths)]
        if not self.items:
            found = ", ".join(map(str, sorted({value_of(item.coord, "ar", 0) for item in items}))) or "none"
            raise RecipeError(
                f"Genie on this machine needs graphs of AR 1, the recipe builds AR {found}",
                where="stages.prepare_exports.arn",
                remedy="add 1 to arn and run again: only missing items are built",
            )
        missing = [item for item in self.items if not item.cached]
        if missing:
            raise CacheError(
                f"{len(missing)} of {len(self.items)} parts are not quantized yet: {missing[0].reason}",
                where=missing[0].name,
                remedy=f"qairt run {run.recipe_arguments}",
            )
        self._binaries = [_described(item, run.env) for item in sorted(self.items, key=_order)]

    def keys(self) -> dict[str, str]:
        """The key of every binary, by the name of its part's item."""
        return {binary.item.name: binary.key for binary in self._binaries}

    def missing(self) -> int:
        """How many are not compiled yet."""
        return sum(not self._cache.has(binary.key) for binary in self._binaries)

    def seconds_to_build(self) -> float:
        """Estimated seconds to compile the missing ones."""
        return sum(each.task.estimate.seconds for each in self._binaries if not self._cache.has(each.key))

    def build(self, notify: Notify) -> list[Path]:
        """Compile the missing binaries, each in its own process; returns all of them in order.

        Raises:
            ItemFailed: the compiler failed; the binaries before it are kept.
            CacheError: a binary cannot be stored.
        """
        paths = []
        if missing := self.missing():
            notify(
                f"compiling {count(missing, 'part')} of {len(self._binaries)} for Genie, one graph each;"
                f" about {about(self.seconds_to_build())}"
            )
        for binary in self._binaries:
            remove_left(self._cache.cache_dir / GenieBinary.name, binary.key[:8])  # of a build that was interrupted
            if not self._cache.has(binary.key):
                self._build(binary, notify)
            output = self._cache.get(binary.key, GenieBinary)
            if not isinstance(output, OneGraphBinary):
                raise CacheError(
                    "it is damaged and was set aside", where=binary.name, remedy="try again: it will be rebuilt"
                )
            paths.append(output.binary)
        return paths

    def _build(self, binary: _Binary, notify: Notify) -> None:
        locks = self._cache.cache_dir / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{binary.key[:16]}.lock"):
            if self._cache.has(binary.key):  # by another process, meanwhile
                return
            with (
                self._cache.making(GenieBinary.name, binary.key) as work,
                self._cache.readers.reading([binary.item.key]),
            ):
                self._compile(binary, work, notify)

    def _compile(self, binary: _Binary, work: Path, notify: Notify) -> None:
        start = time.perf_counter()
        used = Usage()

        def record_usage(usage: Usage) -> None:
            nonlocal used
            used = usage

        source = self._run.output(binary.item, StageOutput)
        wanted = set(GenieBinary.input_type.model_fields)
        label = binary.item.label
        job = Job(
            stage=import_path(GenieBinary),
            config=binary.config.model_dump(mode="json"),
            task=binary.task,
            inputs=[(binary.item.coord, source.model_dump(mode="json", include=wanted))],
            directory=work,
            resume=self._cache.resume_directory(GenieBinary.name, binary.key),
            shared=self._cache.shared_directory(GenieBinary.name),
            threads=1,
        )
        log = self._cache.cache_dir / GenieBinary.name / f"{label}.log"
        log.unlink(missing_ok=True)
        stop = Stop(threading.Event())
        with heartbeat(f"{binary.name}: compiling", binary.task.estimate.seconds, notify):
            ProcessExecutor().run(
                job, ItemLog(GenieBinary.name, label, log), lambda fraction, message: None, stop, record_usage
            )
        seconds = time.perf_counter() - start
        new = NewEntry(binary.key, GenieBinary.name, label, binary.inputs, seconds, used.peak_rss)
        entry = self._cache.publish(work, new)
        notify(f"{binary.name}: compiled in {duration(seconds)}, {size(entry.bytes)}")


def _is_of(coord: Coord, ar: int, context_lengths: Collection[int]) -> bool:
    """A coordinate without context length is of the only one."""
    length = next((value for axis, value in coord if axis == "cl"), None)
    return value_of(coord, "ar", 0) == ar and (length is None or length in context_lengths)


def _order(item: PlannedItem) -> tuple[int, int]:
    return value_of(item.coord, "cl", 0), value_of(item.coord, "split", 1)


def _described(item: PlannedItem, env: Env) -> _Binary:
    linked = env.configs.get("generate_context_binary")
    level = getattr(linked.at(_without_ar(item.coord)), "optimization_level", 3) if linked is not None else 3
    config = GenieBinaryConfig(optimization_level=level)
    stage = GenieBinary(config)
    task = stage.task(item.coord, env)
    extras = {
        "version": stage.version,
        "params": task.params,
        "sources": {item.name: item.key},
        **dict(stage.cache_key_extras(env)),
    }
    return _Binary(item, task, config, key_inputs(stage.name, config, None, extras))


def _without_ar(coord: Coord) -> Coord:
    return tuple(pair for pair in coord if pair[0] not in ("ar", "cl"))
