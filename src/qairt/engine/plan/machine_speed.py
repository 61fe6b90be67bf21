"""How fast this machine is: measured in less than a second by the first run, and kept in the user's folder.

Stages estimate the seconds of an item from sizes, for the machine named below. Once items of a stage have run, their
times count instead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from qairt.files import read_regular, write_atomic
from qairt.machine import available_cores, this_host
from qairt.user_folder import config_folder

if TYPE_CHECKING:
    from qairt.engine.plan.planned import Plan
    from qairt.engine.task import Estimate

FILE = "machine-speed.json"
_SECONDS = 0.3
"""Of each of the two measurements."""
_PACKING = 86.0
"""MB/s that one core of the reference machine (2 cores of an EPYC with AVX-512) compresses."""
_MULTIPLYING = 187.0
"""GFLOP/s of all its cores."""


class MachineSpeed(BaseModel):
    """Speeds relative to the reference machine: 2 is twice as fast."""

    model_config = ConfigDict(frozen=True)

    one_core: float = 1.0
    """Of one core, on what is not arithmetic."""
    all_cores: float = 1.0
    """Of all cores together, on matrix products."""

    def seconds(self, estimate: Estimate) -> float:
        """What an item takes here."""
        return estimate.seconds / (self.all_cores if estimate.threads > 1 else self.one_core)


def kept_speed() -> MachineSpeed | None:
    """What was measured of this machine; None if nothing was."""
    try:
        return MachineSpeed.model_validate(_kept()[this_host()])
    except (KeyError, ValidationError):
        return None


def measure_if_needed(plan: Plan) -> bool:
    """Measure this machine if a plan rests on estimates and it never was; whether it was measured now."""
    if kept_speed() is not None or all(item.from_history for item in plan.to_run()):
        return False
    speeds = _kept() | {this_host(): measured_speed().model_dump()}
    with suppress(OSError):  # then the next run measures again
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_file(), json.dumps(speeds, indent=1) + "\n")
    return kept_speed() is not None


def planned_for_this_machine(plan: Callable[[], Plan]) -> Plan:
    """A plan whose estimates follow the speed of this machine, which is measured first if it never was."""
    planned = plan()
    return plan() if measure_if_needed(planned) else planned


def measured_speed(seconds: float = _SECONDS) -> MachineSpeed:
    """Measure for twice `seconds`. The fastest of many short trials counts, so that other programs hardly matter."""
    import zlib

    import numpy as np

    text = " ".join(str(number * number) for number in range(1000)).encode()
    matrix = np.ones((64, 64), np.float32)  # so small that the product runs on one core
    packing = _best_rate(lambda: zlib.compress(text, 6), seconds) * len(text) / 1e6
    multiplying = _best_rate(lambda: matrix @ matrix, seconds) * 2 * 64**3 / 1e9 * available_cores()
    return MachineSpeed(one_core=round(packing / _PACKING, 3), all_cores=round(multiplying / _MULTIPLYING, 3))


def _best_rate(work: Callable[[], object], seconds: float) -> float:
    """The most times a second that `work` can be done."""
    least, end = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        least = min(least, time.perf_counter() - began)
    return 1 / max(least, 1e-9)


def _file() -> Path:
    return config_folder() / FILE


def _kept() -> dict[str, object]:
    try:
        kept = json.loads(read_regular(_file()))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
