"""What `qairt verify` has measured: each result is an entry of the cache, under everything it depends on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from qairt import keys
from qairt.engine.cache.cache import StageCache
from qairt.errors import CacheError

if TYPE_CHECKING:
    from pydantic import BaseModel

STAGE = "verify"
FIDELITY = "fidelity.json"

Result = TypeVar("Result", bound="BaseModel")


@dataclass
class Results:
    """Those of one ladder.

    Args:
        say: told where a result cannot be stored.
    """

    cache: StageCache
    say: Callable[[str], None]
    reused: list[str] = field(default_factory=list)
    """Labels of those that were measured before."""

    def kept(self, rung: str, inputs: dict[str, Any], kind: type[Result], measure: Callable[[], Result]) -> Result:
        """What an earlier call stored, else what is measured now, stored.

        Args:
            inputs: all that the result depends on.
        """
        key = keys.digest(inputs)
        known = self._known(key, kind)
        if known is not None:
            self.reused.append(rung)
            return known
        start = time.perf_counter()
        found = measure()
        part = inputs["config"]["part"]
        self._store(found, key, inputs, rung if part is None else f"{rung}-part{part}", time.perf_counter() - start)
        return found

    def _known(self, key: str, kind: type[Result]) -> Result | None:
        entry = self.cache.entry(key)
        if entry is None:
            return None
        try:
            return kind.model_validate_json((entry.directory / FIDELITY).read_bytes())
        except (OSError, ValueError):
            return None

    def _store(self, found: BaseModel, key: str, inputs: dict[str, Any], label: str, seconds: float) -> None:
        work = None
        try:
            work = self.cache.working_directory(STAGE, key)
            (work / FIDELITY).write_text(found.model_dump_json(indent=1) + "\n")
            self.cache.publish(work, key, STAGE, label, inputs=inputs, seconds=seconds)
        except (OSError, CacheError) as error:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
            self.say(f"the result is not stored, so it is measured again the next time: {error}")
