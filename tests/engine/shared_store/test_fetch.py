"""Fetching files: each once, verified on arrival, given up where the store is too slow; what came is not sent again."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import defaultdict

import pytest

from qairt.engine.cache.cache import StageCache
from qairt.engine.shared_store.fetch import ContentGone, Fetch, WrongBytes, seconds_allowed
from qairt.engine.shared_store.objects import Missing, Unavailable
from qairt.engine.shared_store.patience import Limits
from qairt.engine.shared_store.stored import StoredEntry, content_name

ONE, TWO = os.urandom(3 << 20), os.urandom(5000)


class Given:
    """Objects in memory that count what they send."""

    def __init__(self, *contents: bytes) -> None:
        self.objects = {content_name(hashlib.sha256(content).hexdigest()): content for content in contents}
        self.asked: list[str] = []

    def stream(self, name):
        self.asked.append(name)
        if name not in self.objects:
            raise Missing
        for start in range(0, len(self.objects[name]), 1 << 20):
            yield self.objects[name][start : start + (1 << 20)]


def stored(**files: bytes) -> StoredEntry:
    named = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    empty = {"inputs": {}, "made_from": {}, "made_with": {}, "made_by": {}, "read": {}}
    return StoredEntry(
        action="a", key="k", stage="s", label="all", timestamp="", files=named, seconds=1, peak_rss=1, **empty
    )


@pytest.fixture
def cache(tmp_path):
    cache = StageCache(tmp_path / "cache")
    cache.prepare()
    return cache


def fetch(cache, objects, entry, folder, locks=None) -> Fetch:
    folder.mkdir(exist_ok=True)
    return Fetch(objects, entry.files, folder, cache.blobs, locks if locks is not None else defaultdict(threading.Lock))


def test_the_same_bytes_are_sent_once(cache, tmp_path):
    objects = Given(ONE, TWO)
    fetch(cache, objects, stored(a=ONE, b=TWO, c=ONE), tmp_path / "x").run()
    assert len(objects.asked) == 2
    assert ((tmp_path / "x" / "a").read_bytes(), (tmp_path / "x" / "c").read_bytes()) == (ONE, ONE)
    assert (tmp_path / "x" / "a").samefile(tmp_path / "x" / "c")
    again = fetch(cache, objects, stored(d=ONE), tmp_path / "y")
    again.run()
    assert (len(objects.asked), again.received, again.here) == (2, 0, len(ONE))


def test_two_items_at_once_share_what_they_have_in_common(cache, tmp_path):
    objects, locks = Given(ONE), defaultdict(threading.Lock)
    both = [fetch(cache, objects, stored(a=ONE), tmp_path / name, locks) for name in "xy"]
    threads = [threading.Thread(target=each.run) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(objects.asked) == 1
    assert (tmp_path / "x" / "a").read_bytes() == (tmp_path / "y" / "a").read_bytes() == ONE


def test_what_came_before_a_failure_is_not_sent_again(cache, tmp_path):
    objects = Given(ONE)
    with pytest.raises(ContentGone):
        fetch(cache, objects, stored(a=ONE, b=TWO), tmp_path / "x").run()
    objects.objects |= Given(TWO).objects
    fetch(cache, objects, stored(a=ONE, b=TWO), tmp_path / "y").run()
    assert objects.asked.count(content_name(hashlib.sha256(ONE).hexdigest())) == 1


@pytest.mark.parametrize("wrong", [ONE[:-1], ONE + b"x", b"x" + ONE[1:], b""], ids=["short", "long", "other", "empty"])
def test_wrong_bytes_are_never_kept(cache, tmp_path, wrong):
    objects = Given(ONE)
    objects.objects = dict.fromkeys(objects.objects, wrong)
    with pytest.raises(WrongBytes):
        fetch(cache, objects, stored(a=ONE), tmp_path / "x").run()
    assert list((cache.cache_dir / "blobs").glob("*")) == []


def test_a_damaged_blob_is_not_taken_for_what_it_was(cache, tmp_path):
    objects = Given(ONE)
    fetch(cache, objects, stored(a=ONE), tmp_path / "x").run()
    (blob,) = (cache.cache_dir / "blobs").iterdir()
    blob.chmod(0o644)
    blob.write_bytes(b"?" * len(ONE))
    fetch(cache, objects, stored(a=ONE), tmp_path / "y").run()
    assert (tmp_path / "y" / "a").read_bytes() == ONE


def test_nobody_waits_longer_than_building_takes():
    limits = Limits(silent=5, judged=1, fetch=60)
    assert (seconds_allowed(limits, 3), seconds_allowed(limits, 300)) == (60, 900)


def test_a_slow_fetch_is_given_up(cache, tmp_path):
    slow = fetch(cache, Given(), stored(a=ONE), tmp_path / "x")
    now = time.monotonic()
    slow.here = slow.received = 100_000
    slow.watch(Limits(silent=5, judged=1), 60, now - 0.5)  # too early to say
    slow.watch(Limits(silent=5, judged=1), 200, now - 3)
    with pytest.raises(Unavailable, match=r"^it is slow: 0\.0 MB/s$"):
        slow.watch(Limits(silent=5, judged=1), 60, now - 3)
    slow._moved = now - 6
    with pytest.raises(Unavailable, match="^it sent next to nothing for 5 s$"):
        slow.watch(Limits(silent=5, judged=1), 1e9, now - 6)
