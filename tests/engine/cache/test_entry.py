from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qairt.engine.cache.entry import Entry, newest_by_item

OLD, NEW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"
ENTRY = Entry(Path(), "a", "fan", "ar1", OLD, {}, {}, 1.0, 0, 0)


def test_the_newest_entry_of_an_item_does_not_depend_on_their_order():
    entries = [ENTRY, replace(ENTRY, key="c", timestamp=NEW), replace(ENTRY, key="b", timestamp=NEW)]
    for order in (entries, entries[::-1]):
        assert newest_by_item(order)["fan", "ar1"].key == "c"


def test_each_item_has_its_own():
    other = replace(ENTRY, key="b", label="ar2")
    assert newest_by_item([ENTRY, other]) == {("fan", "ar1"): ENTRY, ("fan", "ar2"): other}
