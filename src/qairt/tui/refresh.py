"""How often the screen refreshes."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import App
from textual.timer import Timer

_SLOWEST, _FASTEST = 0.5, 8.0
_UNFOCUSED = 1.0


class RefreshTimer:
    """Calls `tick` at a rate in hertz, and at most once a second while the terminal has no focus."""

    def __init__(self, app: App[int], rate: float, tick: Callable[[], None]) -> None:
        self.rate = rate
        self._app = app
        self._tick = tick
        self._timer: Timer | None = None

    def start(self) -> None:
        """Tick at the full rate."""
        self._start_at(self.rate)

    def slow_down(self) -> None:
        """Tick at the rate for a terminal without focus."""
        self._start_at(min(self.rate, _UNFOCUSED))

    def halve(self) -> None:
        self._set_rate(max(self.rate / 2, _SLOWEST))

    def double(self) -> None:
        self._set_rate(min(self.rate * 2, _FASTEST))

    def _set_rate(self, rate: float) -> None:
        self.rate = rate
        self.start()
        self._app.notify(f"{rate:g} refreshes per second")

    def _start_at(self, hertz: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._app.set_interval(1 / hertz, self._tick)
