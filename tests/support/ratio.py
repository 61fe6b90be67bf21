"""How many times as long one thing takes as another, measured side by side in one run: machines are noisy."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 5


def ratio(action: Callable[[], object], unit: Callable[[], object]) -> float:
    """The best time of `action` over the best time of `unit`, of rounds that take turns."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, measured in enumerate((action, unit)):
            began = time.perf_counter()
            measured()
            best[number] = min(best[number], time.perf_counter() - began)
    return best[0] / best[1]
