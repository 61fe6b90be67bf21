"""How often the screen refreshes."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import App
from textual.timer import Timer

_SLOWEST, _FASTEST = 0.5, 8.0
_UNFOCUSED = 1.0
_MOST, _LITTLE = 0.035, 0.012
"""Shares of a core: above the first the screen refreshes half as often, below the second twice as often again."""
_LEAST = 1.0
"""Hertz that are kept whatever they cost."""
_WINDOW_S = 2.0
"""Over which the cost is measured; two of them in a row decide."""


class RefreshTimer:
    """Calls `tick` at a rate in hertz, and at most once a second while the terminal has no focus.

    Args:
        spares: where drawing costs more than a small share of a core, as hundreds of rows that change do, it ticks
            less often. A rate that the user chose is kept.
    """

    def __init__(self, app: App[int], rate: float, tick: Callable[[], None], *, spares: bool = False) -> None:
        self.rate = rate
        self._app = app
        self._tick = tick
        self._spares = spares
        self._timer: Timer | None = None
        self._most = self._now = rate
        """The rate that is wanted at present, and what it is because of its cost."""
        self._since, self._used = 0.0, 0.0
        self._costly = 0
        """Windows in a row that cost too much; negative: that cost little."""

    def start(self) -> None:
        """Tick at the full rate."""
        self._most = self.rate
        self._start_at(self._most)

    def slow_down(self) -> None:
        """Tick at the rate for a terminal without focus."""
        self._most = min(self.rate, _UNFOCUSED)
        self._start_at(self._most)

    def halve(self) -> None:
        self._set_rate(max(self.rate / 2, _SLOWEST))

    def double(self) -> None:
        self._set_rate(min(self.rate * 2, _FASTEST))

    def _set_rate(self, rate: float) -> None:
        self.rate, self._spares = rate, False
        self.start()
        self._app.notify(f"{rate:g} refreshes per second")

    def _start_at(self, hertz: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._now, self._costly = hertz, 0
        self._since, self._used = time.monotonic(), time.thread_time()
        self._timer = self._app.set_interval(1 / hertz, self._tick_and_spare if self._spares else self._tick)

    def _tick_and_spare(self) -> None:
        self._tick()
        passed = time.monotonic() - self._since
        if passed < _WINDOW_S:
            return
        share = (time.thread_time() - self._used) / passed  # of this thread, which also paints
        self._since, self._used = time.monotonic(), time.thread_time()
        costly = (share > _MOST) - (share < _LITTLE)
        self._costly = self._costly + costly if costly and costly * self._costly >= 0 else costly
        if self._costly >= 2 and self._now > _LEAST:
            self._start_at(max(self._now / 2, _LEAST))
        elif self._costly <= -2 and self._now < self._most:
            self._start_at(min(self._now * 2, self._most))
