"""How good estimates of remaining time are: 30 runs replayed, and at each moment the estimate beside what was left.

14 are real, recorded on two cores that other work kept busy (`eta_runs.jsonl.gz`): compiles of tiny models and of the
SmolLM2 recipe, and a run of toy stages; 13 of them the first in their cache directory. 16 are simulated (`eta_replay`),
half of them first runs, on machines of several speeds.

    python -m eta_scores
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eta_replay import learned, run, works

from qairt.engine.record import events as ev
from qairt.engine.record.eta import remaining
from qairt.engine.record.state import RunState

RUNS = Path(__file__).with_name("eta_runs.jsonl.gz")
MOMENTS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of a run's time at which it is estimated."""


@dataclass(frozen=True)
class Score:
    """One estimate."""

    moment: float
    ratio: float
    """Estimated over actual seconds."""
    inside: bool
    """Whether the actual time lay in the range."""


def recorded() -> Iterator[list[ev.Event]]:
    """The real runs."""
    events: list[ev.Event] = []
    for line in gzip.decompress(RUNS.read_bytes()).decode().splitlines():
        event = ev.parse_event(json.loads(line))
        assert event is not None
        if isinstance(event, ev.RunStarted) and events:
            yield events
            events = []
        events.append(event)
    yield events


def simulated(earlier: int, count: int) -> Iterator[list[ev.Event]]:
    """Runs with so many earlier ones on the same machine, each on a machine and with estimates of its own."""
    for number in range(count):
        chance = random.Random(f"{earlier} {number}")
        pace = chance.choice((0.7, 1.0, 1.4))  # what the calibration leaves
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(earlier):
                list(run(works(seed=number), learned(Path(folder) / "h"), chance, pace=pace, host="box7"))
            yield list(run(works(seed=number), learned(Path(folder) / "h"), chance, pace=pace, host="box7"))


def scores(events: Sequence[ev.Event]) -> list[Score]:
    """The estimates of one run."""
    began, end = events[0].time, events[-1].time
    found = []
    for moment in MOMENTS:
        now, state = began + moment * (end - began), RunState()
        for event in events:
            if event.time <= now:
                state.apply(event)
        eta, left = remaining(state, now), end - now
        found.append(Score(moment, eta.seconds / left, eta.low <= left <= eta.high))
    return found


def median_error(found: Sequence[Score]) -> float:
    return statistics.median(abs(score.ratio - 1) for score in found)


def coverage(found: Sequence[Score]) -> float:
    return sum(score.inside for score in found) / len(found)


def groups() -> dict[str, list[Score]]:
    """All scores of the thirty runs, by kind of run."""
    kinds = {
        "14 recorded runs": recorded(),
        "8 simulated first runs": simulated(0, 8),
        "4 simulated, one earlier run": simulated(1, 4),
        "4 simulated, three earlier runs": simulated(3, 4),
    }
    return {name: [score for events in runs for score in scores(events)] for name, runs in kinds.items()}


def main() -> None:
    found = groups()
    found["all 30"] = [score for each in found.values() for score in each]
    for name, each in found.items():
        by_moment = " ".join(
            f"{moment:.0%}:{statistics.median(score.ratio for score in each if score.moment == moment):.2f}"
            for moment in MOMENTS
        )
        print(f"{name:32} median error {median_error(each):4.0%}, in range {coverage(each):4.0%}   {by_moment}")


if __name__ == "__main__":
    main()
