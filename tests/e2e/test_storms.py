"""Runs that are killed, that share a cache, and that are cleaned beside: each ends as if it had been alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from storm_trials import BESIDE, STORMS, beside, kills, prefix, together

COMPLETE = {"kills": 200, "together": 10, "prefix": 10}


def test_two_kills():
    assert kills(2)[1] == []


@pytest.mark.parametrize("storm", [together, prefix])
def test_three_runs_at_once(storm: Callable[[int, int], tuple[int, list[str]]]):
    assert storm(1, 3) == (3, [])


@pytest.mark.parametrize("act", BESIDE)
def test_beside_one_run(act: str):
    assert beside(1, [act])[1] == []


@pytest.mark.matrix
@pytest.mark.parametrize("storm", COMPLETE)
def test_many(storm: str):
    assert STORMS[storm](COMPLETE[storm])[1] == []


@pytest.mark.matrix
@pytest.mark.parametrize("act", BESIDE)
def test_beside_many_runs(act: str):
    assert beside(20, [act])[1] == []
