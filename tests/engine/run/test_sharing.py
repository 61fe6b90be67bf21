"""Machines that share results: nothing is built twice, and whatever the store does, a run ends as without one."""

from __future__ import annotations

import time

import pytest
import toy_stages as toy
from shared_machines import CALM, FAST, MADE, Machine, set_credentials
from store_server import serving

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import files_digest
from qairt.engine.record.events import CacheHit, ItemProgress, LogLine, RunStarted
from qairt.engine.run.options import RunOptions
from qairt.engine.shared_store.stored import entry_name, parsed

LIES = "the store s3://bucket/team sent wrong bytes for source all (29 B): nothing of it is used, it is built here"
RESULT = "hello 1|HELLO 2"


@pytest.fixture
def folder(tmp_path):
    """The address of a store in a folder."""
    (tmp_path / "store").mkdir()
    return f"file:{tmp_path}/store"


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("obstore")
    with serving() as found:
        set_credentials(monkeypatch, found.port)
        yield found


def limits_for(fault: str):
    return FAST if fault in ("silent", "drips") else CALM


def entry_of(machine: Machine, stage: str):
    (entry,) = StageCache(machine.folder).entries(stage)
    return entry


def test_what_one_machine_built_another_one_fetches(tmp_path, folder):
    one, other = Machine(tmp_path / "one", folder), Machine(tmp_path / "other", folder, mode="read")
    assert sorted(one.run().result.executed) == sorted(MADE)
    again = other.run()
    assert (again.result.executed, again.result.status, again.notes()) == ([], "done", [])
    assert one.result() == other.result() == RESULT
    hits = [f"{event.stage} {event.label}" for event in other.events if isinstance(event, CacheHit)]
    assert sorted(hits) == sorted(MADE)
    built, fetched = entry_of(one, "join"), entry_of(other, "join")
    assert (fetched.made_by, fetched.read, fetched.inputs) == (built.made_by, built.read, built.inputs)
    assert fetched.made_by["host"]
    assert again.manifest.item("join", "all")["cache_key"] == fetched.key
    assert sum("fetched: " in event.message for event in other.events if isinstance(event, LogLine)) == 5


def test_what_is_here_is_not_asked_for(tmp_path, server):
    machine = Machine(tmp_path / "one", "s3://bucket/team", mode="read-write")
    machine.run()
    server.requests.clear()
    assert machine.run().result.executed == []
    assert server.requests == [("GET", "team/qairt-store.json")]


def test_a_store_behind_http_is_read(tmp_path, server):
    Machine(tmp_path / "one", "s3://bucket/team").run()
    other = Machine(tmp_path / "other", server.url, mode="read")
    assert other.run().result.executed == []
    assert (other.told, other.result()) == ([], RESULT)


def test_a_plan_says_what_is_in_the_store(tmp_path, folder):
    Machine(tmp_path / "one", folder).run()
    plan = Machine(tmp_path / "other", folder, mode="read").pipeline().plan()
    join = list(plan.items)[-1]
    assert join.why == "in the store: 43 B to fetch, about 0.1 s; building takes about 1.0 s"
    assert [item.name for item in plan.to_fetch()] == MADE
    said = plan.as_dict()
    assert (said["to_run"], said["to_fetch"], said["fetch_bytes"]) == (0, 5, 141)  # two equal files are sent once
    other = Machine(tmp_path / "third", folder, mode="read")
    other.stages = (toy.Source(), toy.Fan(toy.FanConfig(suffix="!")), toy.Upper(), toy.Join())
    plan = other.pipeline().plan()
    assert [item.name for item in plan.to_fetch()] == ["source all"]
    other.run()
    started = next(event for event in other.events if isinstance(event, RunStarted))
    assert [entry.stored for entry in started.items] == [True, False, False, False, False]


def test_a_result_is_not_mixed_with_other_bytes_under_the_same_key(tmp_path, folder):
    """A source that is not deterministic: the second machine has its own, and nothing made from the first one's."""
    said_by = tmp_path / "said.txt"
    machines = []
    for name in ("one", "other"):
        said_by.write_text(f"by {name}")
        mode = "read-write" if name == "one" else "read"
        machine = Machine(tmp_path / name, folder, mode=mode)
        chance = toy.Chance(toy.ChanceConfig(said_by=said_by))
        machine.stages = (chance, toy.Fan(), toy.Upper(), toy.Join())
        machines.append(machine)
    one, other = machines
    said_by.write_text("by one")
    one.run()
    said_by.write_text("by other")
    assert sorted(other.run(force=("source",)).result.executed) == sorted(MADE)
    assert (one.result(), other.result()) == ("by one 1|BY ONE 2", "by other 1|BY OTHER 2")
    assert entry_of(one, "join").key == entry_of(other, "join").key


def test_two_results_of_one_action_are_both_recorded(tmp_path, folder):
    said_by = tmp_path / "said.txt"
    for name in ("one", "other"):
        said_by.write_text(f"by {name}")
        machine = Machine(tmp_path / name, folder)
        machine.stages = (toy.Chance(toy.ChanceConfig(said_by=said_by)), toy.Fan(), toy.Upper(), toy.Join())
        machine.run(force=("source",))
    store = tmp_path / "store"
    (rival,) = (path for path in (store / "rivals").rglob("*") if path.is_file())
    first = parsed((store / entry_name(rival.parent.name)).read_bytes(), rival.parent.name)
    second = parsed(rival.read_bytes(), rival.parent.name)
    assert first.stage == second.stage == "source"
    assert files_digest(first.files) != files_digest(second.files) == rival.name


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("forbidden", "access denied"),
        ("error", "HTTP 503"),
        ("silent", "no answer within 1.5 s"),
        ("drips", "no answer within 1.5 s"),
    ],
)
def test_a_store_that_fails_from_the_start(tmp_path, server, fault, why):
    Machine(tmp_path / "one", "s3://bucket/team").run()
    server.fault = fault
    other = Machine(tmp_path / "other", "s3://bucket/team", limits=limits_for(fault))
    began = time.monotonic()
    assert sorted(other.run().result.executed) == sorted(MADE)
    assert time.monotonic() - began < 30
    assert other.told == [f"the store s3://bucket/team cannot be used: {why}; going on without it"]
    assert other.result() == RESULT


@pytest.mark.parametrize(
    ("fault", "notice"),
    [
        ("silent", "the store s3://bucket/team cannot be used: it sent next to nothing for 1 s; going on without it"),
        ("drips", "the store s3://bucket/team cannot be used: it sent next to nothing for 1 s; going on without it"),
        ("forbidden", "the store s3://bucket/team cannot be used: access denied; going on without it"),
        ("error", "the store s3://bucket/team cannot be used: HTTP 503; going on without it"),
        ("lies", LIES),
        ("short", LIES),
    ],
)
def test_contents_that_do_not_come(tmp_path, server, fault, notice):
    Machine(tmp_path / "one", "s3://bucket/team").run()
    server.fault, server.concerns = fault, "cas/"
    other = Machine(tmp_path / "other", "s3://bucket/team", mode="read", limits=limits_for(fault))
    assert "source all" in other.run().result.executed
    assert notice in other.told
    assert other.result() == RESULT
    assert list((tmp_path / "other" / "pipeline_state").glob("*/.making-*")) == []


def test_records_that_lie_are_not_believed(tmp_path, server):
    Machine(tmp_path / "one", "s3://bucket/team").run()
    server.fault, server.concerns = "lies", "ac/"
    other = Machine(tmp_path / "other", "s3://bucket/team", mode="read")
    assert sorted(other.run().result.executed) == sorted(MADE)
    assert other.told == ["the store s3://bucket/team has records that are damaged; those results are built here"]


def test_a_store_that_is_full(tmp_path, server):
    server.fault = "full"
    server.concerns = "cas/"
    one = Machine(tmp_path / "one", "s3://bucket/team")
    assert sorted(one.run().result.executed) == sorted(MADE)
    assert one.told == ["the store s3://bucket/team cannot be used: it is full; going on without it"]
    assert server.names("ac") == []
    left = [event.message for event in one.events if isinstance(event, LogLine) and event.level == "info"]
    assert left == [
        "5 results are not in the store s3://bucket/team yet (165 B): the next run goes on with it, or "
        "`qairt cache push`"
    ]
    server.fault = ""
    assert one.run().result.executed == []
    assert len(server.names("ac")) == 5


def test_nobody_is_there(tmp_path, monkeypatch):
    pytest.importorskip("obstore")
    with serving() as server:
        set_credentials(monkeypatch, server.port)
    one = Machine(tmp_path / "one", "s3://bucket/team")
    assert sorted(one.run().result.executed) == sorted(MADE)
    assert one.told == ["the store s3://bucket/team cannot be used: no connection; going on without it"]


def test_uploads_delay_the_end_no_longer_than_stated(tmp_path, server):
    server.concerns = "cas/"
    server.fault = "silent"
    one = Machine(tmp_path / "one", "s3://bucket/team", limits=FAST)
    began = time.monotonic()
    one.run()
    assert time.monotonic() - began < one.limits.leave + 25
    assert one.result() == RESULT


def test_contents_that_are_gone_are_a_miss_which_the_next_build_repairs(tmp_path, folder):
    Machine(tmp_path / "one", folder).run()
    for content in (tmp_path / "store" / "cas").rglob("*"):
        if content.is_file():
            content.unlink()
    other = Machine(tmp_path / "other", folder)
    assert sorted(other.run().result.executed) == sorted(MADE)
    third = Machine(tmp_path / "third", folder, mode="read")
    assert third.run().result.executed == []
    assert third.result() == RESULT


def test_damaged_contents_are_a_miss_which_the_next_build_repairs(tmp_path, folder):
    Machine(tmp_path / "one", folder).run()
    for content in (tmp_path / "store" / "cas").rglob("*"):
        if content.is_file():
            content.chmod(0o644)
            content.write_bytes(b"?" * content.stat().st_size)
    other = Machine(tmp_path / "other", folder)
    assert sorted(other.run().result.executed) == sorted(MADE)
    assert other.result() == RESULT
    third = Machine(tmp_path / "third", folder, mode="read")
    assert third.run().result.executed == []
    assert third.result() == RESULT


def test_results_of_hosts_that_are_not_allowed_are_not_used(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("qairt.engine.shared_store.builders.this_host", lambda: "box9")
    Machine(tmp_path / "one", folder).run()
    other = Machine(tmp_path / "other", folder, mode="read", allow_from=("ci-*", "box7"))
    assert sorted(other.run().result.executed) == sorted(MADE)
    assert other.told == [f"the store {folder} has results of box9, which allow_from does not name"]
    third = Machine(tmp_path / "third", folder, mode="read", allow_from=("box*",))
    assert third.run().result.executed == []


def test_a_folder_that_is_no_store_yet_is_told_when_it_is_only_read(tmp_path, folder):
    machine = Machine(tmp_path / "one", folder, mode="read")
    machine.run()
    assert machine.told == [
        f"the store {folder} cannot be used: there is no qairt-store.json: nothing has been stored there yet, or it is "
        "another place; going on without it"
    ]


def test_a_store_of_a_newer_version_is_left_alone(tmp_path, folder):
    (tmp_path / "store" / "qairt-store.json").write_text('{"format": 2, "id": "x"}')
    machine = Machine(tmp_path / "one", folder)
    machine.run()
    assert machine.told == [
        f"the store {folder} cannot be used: a newer version of qairt made it (format 2); going on without it"
    ]
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["qairt-store.json"]


def test_a_stage_that_must_read_an_artifact_is_described_when_that_was_fetched(tmp_path, folder):
    for name, mode in (("one", "read-write"), ("other", "read")):
        machine = Machine(tmp_path / name, folder, mode=mode)
        machine.stages = (toy.Source(), toy.LookFirst())
        pipeline = machine.run()
        assert pipeline.result.status == "done"
    assert pipeline.result.executed == []


def test_a_fetch_is_shown_and_can_be_interrupted(tmp_path, server):
    Machine(tmp_path / "one", "s3://bucket/team").run()
    server.fault, server.concerns = "drips", "cas/"
    other = Machine(tmp_path / "other", "s3://bucket/team", mode="read")
    pipeline = other.pipeline()

    def stop(event) -> None:
        other.events.append(event)
        if isinstance(event, ItemProgress):
            pipeline.stop.set()

    pipeline.add_listener(stop)
    pipeline.construct(RunOptions(jobs=2, memory=10**9, executor="inline"))
    assert pipeline.result.status == "interrupted"
    shown = next(event for event in other.events if isinstance(event, ItemProgress))
    assert shown.message == "fetching 29 B from the store"
    assert list((tmp_path / "other" / "pipeline_state").glob("*/*_*")) == []


def test_an_item_that_is_built_after_all_gets_the_memory_of_building(tmp_path, folder):
    Machine(tmp_path / "one", folder).run()
    (content,) = [p for p in (tmp_path / "store" / "cas").rglob("*") if p.is_file() and p.read_bytes() == b"hello"]
    content.unlink()
    other = Machine(tmp_path / "other", folder, mode="read")
    pipeline = other.run()
    assert pipeline.result.executed == ["source all"]
    source = next(pipeline.result.plan.items)
    assert (source.stored, source.peak_ram, source.why) == (None, 1000, "not built yet")
    assert other.result() == RESULT
