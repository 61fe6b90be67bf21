"""Events are numbered, recorded and passed on in one order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from qairt.engine.observers import StageObserver
from qairt.engine.record import events as ev
from qairt.engine.run.stream import EventStream


def log(message: str) -> ev.LogLine:
    return ev.LogLine(message=message)


def finished() -> ev.RunFinished:
    return ev.RunFinished(status="done", seconds=1.0, executed=0, cached=0, failed=0)


def test_listeners_observers_and_the_file_get_the_same_events(tmp_path: Path):
    class Observer(StageObserver):
        def __init__(self) -> None:
            self.seen: list[ev.Event] = []

        def on_event(self, event: ev.Event) -> None:
            self.seen.append(event)

    stream, heard, observer = EventStream(), [], Observer()
    stream.add_observer(observer)
    with pytest.raises(ValueError, match="this Observer was added before: each hook would be called twice"):
        stream.add_observer(observer)
    with stream.listening(heard.append), stream.recording(tmp_path / "events.jsonl"):
        stream.emit(log("one"))
        stream.emit(log("two"))
    assert [(event.seq, event.message) for event in heard] == [(1, "one"), (2, "two")]
    assert heard == observer.seen == ev.read_events(tmp_path / "events.jsonl")
    stream.remove_observer(observer)
    stream.emit(log("three"))
    assert len(heard) == len(observer.seen) == 2


def test_nothing_follows_the_last_event_of_a_run_and_the_next_one_starts_at_1(tmp_path: Path):
    stream, heard = EventStream(), []
    stream.add_listener(heard.append)
    for name in ("first", "second"):
        with stream.recording(tmp_path / name):
            stream.emit(finished())
            stream.emit(log("too late"))
        assert [event.type for event in ev.read_events(tmp_path / name)] == ["run_finished"]
    assert [event.seq for event in heard] == [1, 1]


def test_events_of_many_threads_are_in_the_order_of_their_numbers(tmp_path: Path):
    stream, heard = EventStream(), []
    stream.add_listener(heard.append)
    with stream.recording(tmp_path / "events.jsonl"):
        threads = [
            threading.Thread(target=lambda: [stream.emit(log(str(number))) for number in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event.seq for event in heard] == list(range(1, 201))
    assert ev.read_events(tmp_path / "events.jsonl") == heard


def test_measurements_of_all_observers_are_joined_by_stage():
    class Measuring(StageObserver):
        def __init__(self, metrics: dict[str, dict[str, float]]) -> None:
            self._metrics = metrics

        def get_report(self) -> dict[str, object]:
            return {"metrics": self._metrics}

    stream = EventStream()
    for metrics in ({"fan": {"ram": 1.0}}, {"fan": {"gpu": 2.0}, "join": {"ram": 3.0}}):
        stream.add_observer(Measuring(metrics))
    stream.add_observer(StageObserver())
    assert stream.measurements() == {"fan": {"ram": 1.0, "gpu": 2.0}, "join": {"ram": 3.0}}
