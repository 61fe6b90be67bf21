"""What pane 5 says of `manifest.json`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import toy_stages as toy

from qairt.engine.cache.manifest_words import CURRENT, ManifestReader
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions


@pytest.fixture
def made(tmp_path):
    """A finished run of one item, a reader, and the path of the manifest."""
    pipeline = Pipeline([toy.Source(toy.SourceConfig())], tmp_path / "cache")
    pipeline.construct(RunOptions(executor="inline"))
    (item,) = pipeline.plan().items
    path = pipeline.manifest.path
    return item, ManifestReader(path), path


def change(path, **values) -> None:
    content = json.loads(path.read_text())
    content["stages"]["source"]["items"]["all"] |= values
    path.write_text(json.dumps(content))


def test_a_record_that_is_right(made):
    item, reader, _ = made
    words = dict(reader.words("source", "all", item.key, item.entry))
    assert words["manifest"] == CURRENT
    assert words["artifact"] == str(item.entry.directory)
    assert words["key"] == item.key
    assert words["took"].startswith("0.")
    assert words["built"].endswith(" UTC")


def test_missing_damaged_and_without_the_item(made):
    item, reader, path = made
    path.write_text(json.dumps({"stages": {}}))
    assert reader.words("source", "all", item.key, item.entry) == [
        ("manifest", "missing: manifest.json does not name this item, which is in the cache; the next run adds it")
    ]
    assert reader.words("source", "all", item.key, None) == []
    path.write_text("{")
    damaged = [("manifest", "manifest.json is damaged; the next run writes it anew")]
    assert reader.words("source", "all", item.key, item.entry) == damaged
    path.unlink()
    gone = [("manifest", "missing: there is no manifest.json; a run writes it")]
    assert reader.words("source", "all", item.key, item.entry) == gone


def test_stale_gone_and_rebuilt(made):
    item, reader, path = made

    def judged(entry=item.entry) -> str:
        return reader.words("source", "all", item.key, entry)[0][1]

    later = replace(item.entry, timestamp="2999-01-01T00:00:00+00:00")
    assert judged(later) == "rebuilt since: the entry is of 2999-01-01 00:00:00 UTC"
    change(path, cache_key="f" * 64)
    assert judged() == f"stale: it records key ffffffffffff, this item's is {item.key[:12]}"
    change(path, cache_key=item.key)
    assert judged() == CURRENT
    shutil.rmtree(item.entry.directory)
    assert judged() == "missing: the folder that it records is gone"
