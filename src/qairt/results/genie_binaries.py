"""The binaries that Genie runs on this machine, of a plan's finished parts: found in the cache or made, one by one.

    pipeline_state/genie_binary/genie_binary_{key[:8]}/    one part, whole or not at all

A part that was made is not made again, so what was interrupted goes on at the next one.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from qairt.amounts import about, count, duration, size
from qairt.engine.axes import Coord, value_of
from qairt.engine.cache.cache import StageCache, key_inputs
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.run.executor import Place, ProcessExecutor, Stop
from qairt.engine.run.jobs import Job, import_path
from qairt.engine.run.usage import Usage
from qairt.engine.stage import Env, Task
from qairt.errors import CacheError, RecipeError
from qairt.keys import digest
from qairt.results.finished import output_of
from qairt.results.genie_binary import GenieBinary, GenieBinaryConfig, OneGraphBinary
from qairt.runtime.waiting import said_while_waiting
from qairt.stages.facts import settings_of

Say = Callable[[str], None]
AR = 1
"""Genie reads a prompt with the only graph it has, a token at a time."""


@dataclass(frozen=True)
class _Binary:
    """One part's: made, or what it takes to make it."""

    item: PlannedItem
    task: Task
    config: GenieBinaryConfig
    inputs: dict[str, Any]

    @property
    def key(self) -> str:
        return digest(self.inputs)

    @property
    def name(self) -> str:
        return f"part {self.task.params['part']} of {self.task.params['of']}"


class GenieBinaries:
    """Of one context length."""

    def __init__(self, plan: Plan, env: Env, cache: StageCache, source: str, context_length: int) -> None:
        """
        Args:
            source: the recipe as remedies name it.
            context_length: of the graphs.

        Raises:
            RecipeError: the recipe makes nothing for the NPU, has no stage quantize or no AR 1.
            CacheError: a part is not quantized yet.
        """
        self._cache = cache
        self._source = source
        if settings_of(env).backend != "HTP":
            raise RecipeError(
                "Genie runs what is compiled for the NPU, and backend: CPU makes nothing for it",
                where="backend",
                remedy="set backend: HTP, or use --target cpu",
            )
        items = next((planned.items for planned in plan.stages if planned.stage.name == "quantize"), [])
        self.items = [item for item in items if _is_of(item.coord, context_length)]
        if not self.items:
            found = ", ".join(map(str, sorted({value_of(item.coord, "ar", 0) for item in items}))) or "none"
            raise RecipeError(
                f"Genie on this machine needs graphs of AR 1, the recipe makes AR {found}",
                where="stages.prepare_exports.arn",
                remedy="add 1 to arn and run again: only what is missing is made",
            )
        missing = [item for item in self.items if not item.cached]
        if missing:
            raise CacheError(
                f"{len(missing)} of {len(self.items)} parts are not quantized yet: {missing[0].reason}",
                where=missing[0].name,
                remedy=f"qairt run {source}",
            )
        self._binaries = [_described(item, env) for item in sorted(self.items, key=_split)]

    def keys(self) -> dict[str, str]:
        """Of every part, by its item's name."""
        return {binary.item.name: binary.key for binary in self._binaries}

    def missing(self) -> int:
        """How many are not made yet."""
        return sum(not self._cache.has(binary.key) for binary in self._binaries)

    def seconds_to_make(self) -> float:
        """About how long making those takes."""
        return sum(b.task.estimate.seconds for b in self._binaries if not self._cache.has(b.key))

    def made(self, say: Say) -> list[Path]:
        """The binaries in order; those that are missing are compiled, each in a process of its own.

        Raises:
            ItemFailed: the compiler failed; the parts before it are kept.
            CacheError: what was made cannot be stored.
        """
        paths = []
        if missing := self.missing():
            say(
                f"compiling {count(missing, 'part')} of {len(self._binaries)} for Genie, one graph each;"
                f" about {about(self.seconds_to_make())}"
            )
        for binary in self._binaries:
            if not self._cache.has(binary.key):
                self._make(binary, say)
            output = self._cache.get(binary.key, GenieBinary)
            if not isinstance(output, OneGraphBinary):
                raise CacheError(
                    "it was damaged and is set aside", where=binary.name, remedy="try again: it is made anew"
                )
            paths.append(output.binary)
        return paths

    def _make(self, binary: _Binary, say: Say) -> None:
        locks = self._cache.cache_dir / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{binary.key[:16]}.lock"):
            if self._cache.has(binary.key):  # by another process, meanwhile
                return
            work = self._cache.working_directory(GenieBinary.name, binary.key)
            try:
                self._run(binary, work, say)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _run(self, binary: _Binary, work: Path, say: Say) -> None:
        start = time.perf_counter()
        used = Usage()

        def use(found: Usage) -> None:
            nonlocal used
            used = found

        source = output_of(self._cache, binary.item, self._source)
        wanted = set(GenieBinary.input_type.model_fields)
        label = binary.item.label
        job = Job(
            stage=import_path(GenieBinary),
            config=binary.config.model_dump(mode="json"),
            task=binary.task,
            inputs=[(binary.item.coord, source.model_dump(mode="json", include=wanted))],
            directory=work,
            resume=self._cache.resume_directory(GenieBinary.name, binary.key),
            threads=1,
        )
        log = self._cache.cache_dir / GenieBinary.name / f"{label}.log"
        log.unlink(missing_ok=True)
        stop = Stop(threading.Event())
        with said_while_waiting(f"{binary.name}: compiling", binary.task.estimate.seconds, say):
            ProcessExecutor().run(job, Place(GenieBinary.name, label, log), lambda fraction, message: None, stop, use)
        seconds = time.perf_counter() - start
        entry = self._cache.publish(
            work, binary.key, GenieBinary.name, label, inputs=binary.inputs, seconds=seconds, peak_rss=used.peak_rss
        )
        say(f"{binary.name}: compiled in {duration(seconds)}, {size(entry.bytes)}")


def _is_of(coord: Coord, context_length: int) -> bool:
    return value_of(coord, "ar", 0) == AR and value_of(coord, "cl", context_length) == context_length


def _split(item: PlannedItem) -> int:
    return value_of(item.coord, "split", 1)


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
