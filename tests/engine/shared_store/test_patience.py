"""Nothing waits longer than stated."""

from __future__ import annotations

import threading
import time

import pytest

from qairt.engine.shared_store.objects import Unavailable
from qairt.engine.shared_store.patience import all_within, watched, within


@pytest.fixture
def never():
    """Work that does not end before the test does."""
    over = threading.Event()
    yield lambda: over.wait(60)
    over.set()


def test_within(never):
    assert within(5, lambda: 3) == 3
    with pytest.raises(KeyError):
        within(5, lambda: {}[1])
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"^no answer within 0\.1 s$"):
        within(0.1, never)
    assert time.monotonic() - began < 5


def test_watched(never):
    assert watched(lambda: 3, lambda: None) == 3
    looks = []

    def check() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        watched(never, check)


def test_many_questions_are_asked_side_by_side_and_in_order():
    meeting = threading.Barrier(4, timeout=30)

    def ask(number: int) -> int:
        meeting.wait()
        return number

    assert all_within(30, [lambda n=n: ask(n) for n in range(8)], 4) == list(range(8))


def test_what_is_not_answered_in_time_is_none(never):
    assert all_within(0.2, [lambda: 1, never], 2) == [1, None]


def test_many_answers_may_take_long_as_long_as_they_come():
    began = time.monotonic()

    def ask() -> float:
        threading.Event().wait(0.05)
        return time.monotonic() - began

    answers = all_within(0.9, [ask] * 30, 1)
    assert None not in answers
    assert answers[-1] > 0.9


def test_after_a_failure_no_further_question_is_asked():
    asked = []

    def fail() -> None:
        asked.append(1)
        raise Unavailable("down")

    answers = all_within(5, [fail] * 50, 2)
    assert len(asked) <= 2
    assert sum(isinstance(answer, Unavailable) for answer in answers) == len(asked)
    assert answers.count(None) == 50 - len(asked)
