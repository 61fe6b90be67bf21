"""How many times the CPU time of one thing another takes, measured side by side in one run: machines are noisy."""

from __future__ import annotations

import resource
from collections.abc import Callable

ROUNDS = 5


def ratio(action: Callable[[], object], unit: Callable[[], object]) -> float:
    """The least CPU time of `action` over that of `unit`, of rounds that take turns; ended children count."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, measured in enumerate((action, unit)):
            began = _cpu_seconds()
            measured()
            best[number] = min(best[number], _cpu_seconds() - began)
    return best[0] / best[1]


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
