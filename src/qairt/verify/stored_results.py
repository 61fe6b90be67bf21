"""Stored results of `qairt verify`: each is an entry of the cache, keyed by everything it depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from qairt import keys
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import NewEntry
from qairt.errors import CacheError, unwritable
from qairt.files import read_regular
from qairt.notify import Notify
from qairt.verify.result import rung_name

STAGE = "verify"
FIDELITY = "fidelity.json"

ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True)
class ResultKey:
    """A rung, and everything that its result depends on."""

    rung: str
    part: int | None
    inputs: Mapping[str, object]
    concurrency: str = ""
    """The LoRA adapters that were active; empty for the base."""

    @property
    def digest(self) -> str:
        return keys.digest(self.inputs)

    @property
    def label(self) -> str:
        of_part = self.rung if self.part is None else f"{self.rung}-part{self.part}"
        return f"{of_part}-{self.concurrency}" if self.concurrency else of_part


@dataclass
class StoredResults:
    """The results in a cache directory.

    Args:
        notify: gets a line when a result cannot be stored.
    """

    cache: StageCache
    notify: Notify
    reused: list[str] = field(default_factory=list)
    """Rungs whose result was stored by an earlier call."""
    _is_unwritable: bool = False
    """It was said that results cannot be stored."""

    def get_or_measure(self, key: ResultKey, kind: type[ResultT], measure: Callable[[], ResultT]) -> ResultT:
        """The result that an earlier call stored; else measure and store it."""
        known = self._known(key, kind)
        if known is not None:
            self.reused.append(rung_name(key.rung, key.concurrency))
            return known
        start = time.perf_counter()
        result = measure()
        self._store(result, key, time.perf_counter() - start)
        return result

    def get_or_measure_all(
        self, named: Mapping[str, ResultKey], kind: type[ResultT], measure: Callable[[list[str]], list[ResultT]]
    ) -> list[ResultT]:
        """The same for several results that can be measured together.

        Args:
            named: their keys.
            measure: gets the names of those that are missing.
        """
        found = {name: self._known(key, kind) for name, key in named.items()}
        missing = [name for name, known in found.items() if known is None]
        self.reused += [rung_name(key.rung, name) for name, key in named.items() if name not in missing]
        start = time.perf_counter()
        made = dict(zip(missing, measure(missing) if missing else [], strict=True))
        for name, result in made.items():
            self._store(result, named[name], (time.perf_counter() - start) / len(made))
        return [made[name] if known is None else known for name, known in found.items()]

    def _known(self, key: ResultKey, kind: type[ResultT]) -> ResultT | None:
        entry = self.cache.entry(key.digest)
        if entry is None:
            return None
        try:
            return kind.model_validate_json(read_regular(entry.directory / FIDELITY))
        except (OSError, ValueError):
            return None

    def _store(self, result: BaseModel, key: ResultKey, seconds: float) -> None:
        try:
            with self.cache.making(STAGE, key.digest) as work:
                (work / FIDELITY).write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
                self.cache.publish(work, NewEntry(key.digest, STAGE, key.label, keys.plain(key.inputs), seconds))
        except (OSError, CacheError) as error:
            if not self._is_unwritable:
                place, instead = self.cache.cache_dir, "choose another cache with --cache-dir"
                told = unwritable(error, "results", place, instead=instead) if isinstance(error, OSError) else error
                self.notify(f"Results are not stored, and will be measured again next time: {told}")
            self._is_unwritable = True
