"""Which items an item reads, and the digests of their files: what its result depends on, byte for byte."""

from __future__ import annotations

from pathlib import Path

import toy_stages as toy

from qairt.engine.cache.entry import files_digest
from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.reads import files_read
from qairt.engine.run.options import RunOptions
from qairt.engine.shared_store.stored import action_of


class Told(toy.Source):
    """Later items depend on what `facets` says of it, and not on its key."""

    def facets(self, env):
        return (("text", self.config.text),)


def run(folder: Path, *stages):
    return Pipeline(stages, folder).construct(RunOptions(jobs=1, memory=10**9, executor="inline")).result.plan


def by_name(plan):
    return {item.name: item for item in plan.items}


def test_every_source_by_the_digests_of_its_files(tmp_path):
    items = by_name(run(tmp_path, toy.Source(), toy.Fan(), toy.Upper(), toy.Join()))
    assert files_read(items["source all"]) == {}
    source = files_digest(items["source all"].entry.files)
    assert files_read(items["fan ar1"]) == {"source all": source} == items["fan ar1"].entry.read
    join = files_read(items["join all"])
    assert join.keys() == {"fan ar1", "upper ar2"}  # fan ar2 gives nothing that upper ar2 does not
    assert join == items["join all"].entry.read


def test_of_a_stage_with_facets_the_key_says_what_is_read(tmp_path):
    items = by_name(run(tmp_path, Told(), toy.Fan()))
    assert files_read(items["fan ar1"]) == {} == items["fan ar1"].entry.read


def test_what_is_not_made_yet_is_not_known(tmp_path):
    plan = Pipeline([toy.Source(), toy.Fan()], tmp_path).plan()
    items = by_name(plan)
    assert files_read(items["source all"]) == {}
    assert files_read(items["fan ar1"]) is None


def test_an_action_is_the_key_and_the_bytes():
    names = {action_of("k", {}), action_of("k", {"a": "1"}), action_of("k", {"a": "2"}), action_of("l", {"a": "1"})}
    assert len(names) == 4
    assert action_of("k", {"a": "1", "b": "2"}) == action_of("k", {"b": "2", "a": "1"})
