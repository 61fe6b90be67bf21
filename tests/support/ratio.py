"""How many times the CPU time of one thing another takes, measured side by side in one run: machines are noisy."""

from __future__ import annotations

import resource
from collections.abc import Callable

ROUNDS = 5


def ratio(action: Callable[[], object], unit: Callable[[], object], *, programs: bool = False) -> float:
    """The least CPU time of `action` over that of `unit`, of rounds that take turns; ended children count.

    Args:
        programs: both only run programs, whose time alone counts: threads that an earlier test left here do not.
    """
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, measured in enumerate((action, unit)):
            began = _cpu_seconds(programs)
            measured()
            best[number] = min(best[number], _cpu_seconds(programs) - began)
    return best[0] / best[1]


def _cpu_seconds(of_children: bool) -> float:
    whose = [resource.RUSAGE_CHILDREN] if of_children else [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]
    used = [resource.getrusage(who) for who in whose]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
