"""How often the screen refreshes, by what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qairt.tui import refresh
from qairt.tui.refresh import RefreshTimer


class Clock:
    """Time that passes in a test's hands, and an app whose timer is driven by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.used = 0.0
        self.interval, self.call = 0.0, lambda: None
        monkeypatch.setattr(refresh.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(refresh.time, "thread_time", lambda: self.used)

    def set_interval(self, interval: float, call: Callable[[], None]) -> Any:
        self.interval, self.call = interval, call
        return self

    def stop(self) -> None:
        pass

    def notify(self, text: str) -> None:
        pass

    def passes(self, seconds: float, cost: float) -> float:
        """Let time pass, each tick costing `cost` seconds of a core; returns the rate at its end."""
        end = self.now + seconds
        while self.now < end:
            self.now += self.interval
            self.used += cost
            self.call()
        return 1 / self.interval


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_screen_that_costs_too_much_refreshes_less_often_and_recovers(clock: Clock):
    timer = RefreshTimer(clock, 4.0, lambda: None, spares=True)  # type: ignore[arg-type]
    timer.start()
    assert clock.passes(20, cost=0.005) == 4.0  # 2 % of a core
    assert clock.passes(20, cost=0.016) == 2.0  # 6.4 %, then 3.2 %
    assert clock.passes(20, cost=0.060) == 1.0  # never less
    assert clock.passes(20, cost=0.002) == 4.0


def test_one_costly_moment_changes_nothing(clock: Clock):
    timer = RefreshTimer(clock, 4.0, lambda: None, spares=True)  # type: ignore[arg-type]
    timer.start()
    clock.passes(6, cost=0.005)
    clock.used += 1.0
    assert clock.passes(6, cost=0.005) == 4.0


def test_a_chosen_rate_is_kept(clock: Clock):
    timer = RefreshTimer(clock, 4.0, lambda: None, spares=True)  # type: ignore[arg-type]
    timer.start()
    timer.double()
    assert clock.passes(20, cost=0.060) == 8.0


def test_without_focus_it_stays_slow(clock: Clock):
    timer = RefreshTimer(clock, 4.0, lambda: None, spares=True)  # type: ignore[arg-type]
    timer.start()
    timer.slow_down()
    assert clock.passes(20, cost=0.0) == 1.0
    timer.start()
    assert clock.passes(1, cost=0.0) == 4.0
