"""The order of items that could run at the same time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from planned_items import item, parts

from qairt.engine.plan.order import Key, longest_path, makespan, merge_by_merge, urgency


@pytest.mark.parametrize("links", [(18, 9, 14, 1), (10, 10, 10), (1, 30), (5, 5)])
def test_cores_stand_idle_only_as_long_as_they_must(links: tuple[float, ...]):
    items = parts(*links)
    work = sum(one.seconds for one in items)
    longest = min(
        makespan(items, rule, 2)
        for rule in (
            longest_path(items),
            merge_by_merge(items, longest_first=True),
            merge_by_merge(items, longest_first=False),
        )
    )
    assert makespan(items, urgency(items, 2), 2) == longest
    critical = 1 + 2 + max(links) + 1
    assert longest <= max(work / 2 + max(links) / 2, critical) + 1


def test_what_leads_to_one_merge_is_made_together():
    items = parts(5, 50)
    keys = merge_by_merge(items, longest_first=True)
    names = [one.name for one in sorted(items, key=lambda one: keys[id(one)])]
    assert names == [
        "link 1", "quantize 1 ar8", "quantize 1 ar1", "split 1 ar8", "split 1 ar1",
        "link 0", "quantize 0 ar8", "quantize 0 ar1", "split 0 ar8", "split 0 ar1",
        "bundle",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_the_makespan_is_that_of_a_simulation_which_looks_at_every_item(seed: int):
    chance = random.Random(seed)
    items: list[Any] = []
    for number in range(40):
        sources = chance.sample(items, min(len(items), chance.choice((0, 1, 1, 2, 4))))
        items.append(item(str(number), *sources, seconds=chance.uniform(0.5, 9.0)))
    keys = merge_by_merge(items, longest_first=True)
    for jobs in (1, 2, 5):
        assert makespan(items, keys, jobs) == pytest.approx(slow_makespan(items, keys, jobs))


def slow_makespan(items: list[Any], keys: dict[int, Key], jobs: int) -> float:
    waiting = sorted(items, key=lambda one: keys[id(one)])
    running: list[tuple[float, Any]] = []
    done: set[int] = set()
    now = 0.0
    while waiting or running:
        ready = [one for one in waiting if all(id(source) in done for source in one.sources)]
        for one in ready[: jobs - len(running)]:
            waiting.remove(one)
            running.append((now + one.seconds, one))
        ending = min(running, key=lambda entry: entry[0])
        running.remove(ending)
        now = ending[0]
        done.add(id(ending[1]))
    return now
