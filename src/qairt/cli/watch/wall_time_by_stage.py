"""Which stage the wall time of a run went to."""

from __future__ import annotations

from collections import defaultdict

from qairt.engine.record import events as ev


class WallTimeByStage:
    """Divides each moment of a run evenly among the items running in it, and adds up by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall seconds by stage; together with `idle` they cover the whole run."""
        self.idle = 0.0
        """Seconds in which no item ran: planning, publishing."""
        self._running: list[tuple[str, str]] = []
        self._last: float | None = None

    def apply(self, event: ev.Event) -> None:
        match event:
            case ev.ItemStarted():
                self._advance(event.time)
                self._running.append((event.stage, event.label))
            case ev.ItemFinished() | ev.ItemFailedEvent() | ev.ItemSkipped():
                self._advance(event.time)
                if (event.stage, event.label) in self._running:
                    self._running.remove((event.stage, event.label))
            case ev.RunStarted() | ev.RunFinished():
                self._advance(event.time)

    def fraction(self, stage: str) -> float:
        """0 … 1 of the wall time."""
        total = sum(self.seconds.values()) + self.idle
        return self.seconds[stage] / total if total else 0.0

    def _advance(self, time: float) -> None:
        passed = max(time - self._last, 0.0) if self._last is not None else 0.0
        self._last = time if self._last is None else max(time, self._last)
        if not self._running:
            self.idle += passed
        for stage, _ in self._running:
            self.seconds[stage] += passed / len(self._running)
