"""Files between the stages are let go when nothing reads them: what follows still hits, and they can be had back."""

from __future__ import annotations

import pytest
import toy_stages as toy
from retained_run import LONG, MADE, Retained, Upper

from qairt.engine.cache.releasing import release
from qairt.engine.cache.store import Store
from qairt.engine.record.events import Event, ItemFinished, ItemStarted
from qairt.engine.run.options import RunOptions
from qairt.errors import GraphError

RESULT = f"{LONG.upper()} 1|{LONG.upper()} 2"
BETWEEN = ["fan ar1", "fan ar2", "upper ar1", "upper ar2"]


@pytest.fixture
def place(tmp_path):
    return Retained(tmp_path / "one")


class Failing(Upper):
    def run(self, task, context):
        if "2" in context.input.text.read_text():
            raise GraphError("no")
        return super().run(task, context)


class Chancy(Upper):
    number = 0

    def run(self, task, context):
        output = super().run(task, context)
        output.text.write_text(output.text.read_text() + str(Chancy.number))
        return output


def _starts(event: Event, stage: str) -> bool:
    return isinstance(event, ItemStarted) and event.stage == stage


def files_of(place: Retained, name: str) -> list[str]:
    entry = place.entries()[name]
    return sorted(path.name for path in entry.directory.iterdir())


def test_results_stay_and_what_is_between_goes(place):
    assert sorted(place.run().executed) == sorted(MADE)
    assert place.result() == RESULT
    assert place.whole() == ["join all", "source all"]
    for name in BETWEEN:
        assert files_of(place, name) == ["cache_entry.json", "output.json"]
        assert place.entries()[name].released == {"text.txt"}
    blobs = {path.name for path in (place.folder / "pipeline_state" / "blobs").iterdir()}
    here = {file["sha256"] for entry in place.entries().values() for file in entry.files_here().values()}
    assert blobs <= here


def test_all_is_kept_by_default(tmp_path):
    place = Retained(tmp_path / "one", keep=None)
    place.run()
    assert place.whole() == sorted(MADE)


def test_a_stage_of_its_own(place):
    place.fan = {"keep": "all"}
    place.run()
    assert place.whole() == ["fan ar1", "fan ar2", "join all", "source all"]


def test_bundle_keeps_the_last_stage(tmp_path):
    place = Retained(tmp_path / "one", keep="bundle")
    place.run()
    assert place.whole() == ["join all"]
    assert place.run().executed == []


def test_a_released_item_is_a_hit_for_what_follows(place):
    place.run()
    again = place.run()
    assert (again.executed, again.result.status, place.told) == ([], "done", [])
    assert [item.name for item in again.plan().items if item.entry and not item.entry.is_whole] == BETWEEN
    assert again.plan().as_dict()["to_run"] == 0


def test_what_is_read_again_is_rebuilt_and_let_go_again(place):
    place.run()
    place.suffix = "!"
    reasons = {item.name: item.reason for item in place.pipeline().plan().to_run()}
    assert reasons == {
        "fan ar1": "upper ar1 reads its files, which were released",
        "fan ar2": "upper ar2 reads its files, which were released",
        "upper ar1": "join all reads its files, which were released",
        "upper ar2": "join all reads its files, which were released",
        "join all": "stages.join.suffix  → !",
    }
    assert sorted(place.run().executed) == sorted([*BETWEEN, "join all"])
    assert place.told == []
    assert place.whole() == ["join all", "source all"]


def test_who_asks_for_an_item_gets_it(place):
    place.run()
    made = place.run(asked=["fan ar2"])
    assert made.executed == ["fan ar2"]
    assert place.whole() == ["fan ar2", "join all", "source all"]
    fan = made.cache.get(place.entries()["fan ar2"].key, type(made.configured_stages[1]))
    assert fan.text.read_text() == f"{LONG} 2"
    assert place.run().executed == []
    assert place.whole() == ["join all", "source all"]  # nobody asks any more


def test_it_is_let_go_as_soon_as_its_last_reader_ends(place):
    here: list[list[str]] = []
    pipeline = place.pipeline()
    pipeline.add_listener(lambda event: here.append(place.whole()) if _starts(event, "join") else None)
    pipeline.construct(RunOptions(jobs=1, memory=10**9, executor="inline"))
    assert here == [["source all", "upper ar1", "upper ar2"]]


def test_a_failed_run_keeps_what_is_left_to_read(place):
    place.upper = Failing
    assert place.run().result.status == "failed"
    assert place.whole() == ["fan ar2", "source all", "upper ar1"]
    place.upper = Upper
    assert sorted(place.run().executed) == ["join all", "upper ar2"]
    assert place.result() == RESULT


def test_a_rebuilt_item_that_differs_is_told(place):
    place.upper = Chancy
    place.run()
    Chancy.number = 1
    place.run(asked=["upper ar1"])
    assert place.told == [
        "upper ar1 was rebuilt, and its text.txt is not what it was before it was released: what was made from it then"
        " stays as it is; to build that again too, clear it: qairt cache clear upper --after"
    ]
    assert place.run().executed == []


@pytest.mark.parametrize("disk", [None, 10**9])
@pytest.mark.parametrize("keep", ["all", "results", "bundle"])
def test_another_result_reaches_the_end_whatever_was_released(tmp_path, keep, disk):
    said_by = tmp_path / "said"
    said_by.write_text(LONG)
    place = Retained(tmp_path / "one", keep=keep)
    place.source = toy.Chance(toy.ChanceConfig(said_by=said_by))
    place.run()
    assert place.run(force=["source"], disk=disk).executed == ["source all"]
    said_by.write_text(LONG.replace("x", "y"))
    made = place.run(force=["source"], disk=disk)
    assert (made.result.status, place.result()) == ("done", RESULT.replace("X", "Y"))
    assert {event.reason for event in place.events if isinstance(event, ItemStarted)} == {
        "requested with --force",
        "source all was built again, with another result",
    }
    assert place.run(disk=disk).executed == []


def test_an_entry_that_is_read_or_made_stays(place):
    place.keep = "all"
    place.run()
    entry = place.entries()["fan ar1"]
    with place.cache.readers.reading([entry.key]):
        assert release(place.cache, entry) is None
    assert place.whole() == sorted(MADE)
    released = release(place.cache, entry)
    assert released is not None
    assert released.bytes >= len(LONG)
    assert "fan ar1" not in place.whole()


def test_bytes_that_another_entry_holds_stay(place):
    place.keep = "all"
    place.run()
    place.fan = {"counter": place.folder / "counter"}  # the same text under another key
    place.run()
    twins = [entry for entry in place.cache.entries("fan") if entry.label == "ar1"]
    assert len(twins) == 2
    released = release(place.cache, twins[0])
    assert released is not None
    assert released.bytes == 0
    assert place.cache.whole(twins[1].key) is not None


def test_clear_undo_verify_prune_and_why_know_it(place):
    place.run()
    store = Store(place.folder)
    cleared = store.clear(store.entries("fan"))
    assert [moved.name for moved in cleared.entries] == ["fan ar1", "fan ar2"]
    assert place.run(asked=[]).executed == []  # nobody needs it
    assert store.undo() is not None
    assert sorted(place.entries()) == sorted(MADE)
    assert store.verify() == sum(entry.bytes_here for entry in place.entries().values())
    assert store.problems == []
    store.clear(store.entries("upper"))
    store.prune()
    assert sorted(place.entries()) == ["fan ar1", "fan ar2", "join all", "source all"]
    items = {item.name: item for item in place.pipeline().plan().items}
    assert items["upper ar1"].reason == "on demand: no item reads it"
    assert place.run().executed == []


def test_damage_to_a_file_that_stays_is_found(place):
    place.run()
    entry = place.entries()["fan ar1"]
    (entry.directory / "output.json").write_text("{}")
    store = Store(place.folder)
    store.verify()
    assert store.problems == ["fan ar1: output.json has 2 bytes, not 24"]
    assert place.run().executed == []
    place.suffix = "!"
    assert sorted(place.run().executed) == sorted([*BETWEEN, "join all"])


def test_sizes_in_events_are_those_of_the_whole_item(place):
    place.run()
    sizes = {f"{event.stage} {event.label}": event.size for event in place.events if isinstance(event, ItemFinished)}
    assert sizes == {name: entry.bytes for name, entry in place.entries().items()}
