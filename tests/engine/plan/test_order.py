"""The order of items that could run at the same time."""

from __future__ import annotations

import pytest
from planned_items import parts

from qairt.engine.plan.order import longest_path, makespan, merge_by_merge, urgency


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
