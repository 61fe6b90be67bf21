"""The engine over toy stages: fan-out, cache, resume, failure, interruption."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import toy_stages as toy
from wait import until

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import Expansion, Stage, Task
from qairt.errors import CacheError, ContractViolation, RecipeError
from qairt.files import read_lines

INLINE = RunOptions(jobs=2, executor="inline")
PROCESS = RunOptions(jobs=2)


def pipeline(cache: Path, *, text: str = "hello", file: Path | None = None, **fan) -> Pipeline:
    source = toy.Source(toy.SourceConfig(text=text, file=file))
    return Pipeline([source, toy.Fan(toy.FanConfig(**fan)), toy.Upper(), toy.Join()], cache)


def run(made: Pipeline, options: RunOptions = INLINE) -> list[str]:
    result = made.construct(options)
    assert result.status == "done", result.failed
    return sorted(result.executed)


def joined(made: Pipeline) -> str:
    entry = list(made.plan().items)[-1].entry
    assert entry is not None
    return (entry.directory / "joined.txt").read_text()


def test_all_items_run_once_and_then_none(tmp_path):
    assert run(pipeline(tmp_path)) == ["fan ar1", "fan ar2", "join all", "source all", "upper ar2"]
    assert joined(pipeline(tmp_path)) == "hello 1|HELLO 2"
    again = pipeline(tmp_path)
    assert run(again) == []
    assert [item.name for item in again.plan().items if item.cached] == [
        "source all", "fan ar1", "fan ar2", "upper ar2", "join all",
    ]  # fmt: skip


def test_children_give_the_same_as_the_engine_process(tmp_path):
    run(pipeline(tmp_path / "a"), INLINE)
    run(pipeline(tmp_path / "b"), PROCESS)
    assert joined(pipeline(tmp_path / "a")) == joined(pipeline(tmp_path / "b"))
    (log,) = (tmp_path / "b").rglob("fan.ar1.log")
    assert log.read_text() == "making ar 1\n50% half way\n"


def test_adding_an_axis_value_runs_it_and_what_merges_it(tmp_path):
    run(pipeline(tmp_path, arn=[1, 2]))
    assert run(pipeline(tmp_path, arn=[1, 2, 3])) == ["fan ar3", "join all", "upper ar3"]


def test_a_setting_reruns_its_stage_and_what_follows(tmp_path):
    run(pipeline(tmp_path))
    assert run(pipeline(tmp_path, suffix="!")) == ["fan ar1", "fan ar2", "join all", "upper ar2"]


def test_an_override_reruns_one_coordinate(tmp_path):
    run(pipeline(tmp_path))
    overrides = [{"where": {"ar": 1}, "set": {"suffix": "?"}}]
    made = pipeline(tmp_path, overrides=overrides)
    reasons = {item.name: item.reason for item in made.plan().to_run()}
    assert reasons == {
        "fan ar1": "stages.fan.suffix  → ?",
        "join all": "fan ar1 changed: stages.fan.suffix  → ?",
    }
    run(made)
    assert joined(made) == "hello 1?|HELLO 2"


def test_a_changed_file_is_named(tmp_path):
    file = tmp_path / "input.txt"
    file.write_text("one")
    run(pipeline(tmp_path / "cache", file=file))
    file.write_text("two")
    reason = next(iter(pipeline(tmp_path / "cache", file=file).plan().to_run())).reason
    assert reason.startswith("source.file ")
    assert "→" in reason


def test_live_configs_are_followed(tmp_path):
    made = pipeline(tmp_path)
    made.stages.fan.arn = [5]
    assert run(made) == ["fan ar5", "join all", "source all", "upper ar5"]


def test_clearing_a_stage_reruns_it_alone(tmp_path):
    made = pipeline(tmp_path)
    run(made)
    made.cache.clear("fan")
    assert run(pipeline(tmp_path)) == ["fan ar1", "fan ar2"]


def test_force_runs_though_cached(tmp_path):
    run(pipeline(tmp_path))
    result = pipeline(tmp_path).construct(RunOptions(executor="inline", force=frozenset({"upper"})))
    assert result.executed == ["upper ar2"]


def by_chance(folder: Path, chance: str) -> Pipeline:
    said_by = folder / "said"
    said_by.write_text(chance)
    source = toy.Chance(toy.ChanceConfig(said_by=said_by))
    return Pipeline([source, toy.Fan(), toy.Upper(), toy.Join()], folder / "cache")


BELOW = ["fan ar1", "fan ar2", "join all", "source all", "upper ar2"]


@pytest.mark.parametrize("again", ["forced", "cleared"])
def test_another_result_under_the_same_key_reaches_all_that_was_made_from_it(tmp_path, again: str):
    run(by_chance(tmp_path, "one"))
    assert joined(by_chance(tmp_path, "one")) == "one 1|ONE 2"
    force = frozenset({"source"} if again == "forced" else ())
    for chance, executed in (("one", ["source all"]), ("other", BELOW)):
        if again == "cleared":
            cache = by_chance(tmp_path, chance).cache
            cache.delete(next(iter(cache.entries("source"))))
        assert run(by_chance(tmp_path, chance), RunOptions(executor="inline", force=force)) == executed
        assert joined(by_chance(tmp_path, chance)) == f"{chance} 1|{chance.upper()} 2"
        assert run(by_chance(tmp_path, chance)) == []


def test_another_result_reaches_the_rest_in_a_later_run_too(tmp_path):
    run(by_chance(tmp_path, "one"))
    options = RunOptions(executor="inline", force=frozenset({"source"}), until="source")
    assert run(by_chance(tmp_path, "other"), options) == ["source all"]
    planned = {item.name: item for item in by_chance(tmp_path, "other").plan().items}
    assert planned["fan ar1"].reason == "source all was built again, with another result"
    assert run(by_chance(tmp_path, "other")) == [name for name in BELOW if name != "source all"]
    assert joined(by_chance(tmp_path, "other")) == "other 1|OTHER 2"


def test_until_stops_after_a_stage(tmp_path):
    result = pipeline(tmp_path).construct(RunOptions(executor="inline", until="fan"))
    assert sorted(result.executed) == ["fan ar1", "fan ar2", "source all"]
    with pytest.raises(RecipeError, match="there is no stage fam in this recipe\n  did you mean fan?"):
        pipeline(tmp_path).plan(RunOptions(until="fam"))
    with pytest.raises(RecipeError, match="no stage nothing in this recipe\n  its stages: source, fan, upper, join"):
        pipeline(tmp_path).plan(RunOptions(force=frozenset({"nothing"})))
    with pytest.raises(RecipeError, match="join cannot be forced: it comes after fan, where the run ends"):
        pipeline(tmp_path).plan(RunOptions(until="fan", force=frozenset({"join"})))
    with pytest.raises(RecipeError, match="there is no stage fam"):
        pipeline(tmp_path / "new").construct(RunOptions(until="fam"))
    assert not (tmp_path / "new").exists(), "a run that cannot begin leaves no trace"


def test_a_failed_item_leaves_the_rest_done_and_is_tried_again(tmp_path):
    result = pipeline(tmp_path, fail_at=2).construct(PROCESS)
    assert result.status == "failed"
    (failure,) = result.failed
    assert failure.as_dict() == {
        "type": "ItemFailed",
        "what": "this node is not supported",
        "where": "node_7",
        "remedy": "leave it out",
        "stage": "fan",
        "label": "ar2",
        "signal": None,
        "log_tail": ["making ar 2", "50% half way", "GraphError: node_7: this node is not supported", "  leave it out"],
    }
    assert sorted(result.executed) == ["fan ar1", "source all"]
    assert not list(tmp_path.rglob(".making-*"))


def test_a_segfault_is_one_failed_item(tmp_path):
    result = pipeline(tmp_path, die_at=1).construct(PROCESS)
    (failure,) = result.failed
    assert failure.what == "its process was ended by SIGSEGV"
    assert failure.signal == signal.SIGSEGV
    assert failure.log_tail == ["making ar 1", "50% half way", "about to die"]
    assert sorted(result.executed) == ["fan ar2", "source all", "upper ar2"]


def test_stop_ends_children_and_keeps_what_is_done(tmp_path):
    made = pipeline(tmp_path, sleep=30)
    stopped = 0.0

    def stop() -> None:
        nonlocal stopped
        until(lambda: [log for log in tmp_path.rglob("fan.*.log") if "making ar" in log.read_text()])
        stopped = time.monotonic()
        made.stop.set()

    thread = threading.Thread(target=stop)
    thread.start()
    result = made.construct(PROCESS)
    thread.join()
    assert result.status == "interrupted"
    assert time.monotonic() - stopped < 15
    assert result.executed == ["source all"]
    assert not list(tmp_path.rglob(".making-*"))


def test_two_runs_make_an_item_once(tmp_path):
    counter = tmp_path / "counter"
    settings = {"sleep": 0.5, "counter": str(counter)}
    code = (
        "import sys, toy_stages as toy; from pathlib import Path; from qairt.engine.pipeline import Pipeline;"
        "from qairt.engine.run.options import RunOptions;"
        f"stages = [toy.Source(), toy.Fan(toy.FanConfig(**{settings!r})), toy.Upper(), toy.Join()];"
        f"r = Pipeline(stages, Path({str(tmp_path)!r}))"
        ".construct(RunOptions(jobs=2)); sys.exit(r.status != 'done')"
    )
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert sorted(counter.read_text().split()) == ["1", "2"]


def test_kill_9_loses_only_what_was_running(tmp_path):
    code = (
        "import toy_stages as toy; from pathlib import Path; from qairt.engine.pipeline import Pipeline;"
        "from qairt.engine.run.options import RunOptions;"
        "stages = [toy.Source(), toy.Fan(), toy.Upper(toy.LaterConfig(sleep=30)), toy.Join()];"
        f"Pipeline(stages, Path({str(tmp_path)!r}))"
        ".construct(RunOptions(jobs=2))"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    state = tmp_path / "pipeline_state"

    def third_stage_runs() -> bool:
        made = len(list(state.glob("fan/fan_*/cache_entry.json")))
        return made == 2 and any(state.glob("runs/*/logs/upper.ar2.log"))

    until(lambda: child.poll() is not None or third_stage_runs())
    child.kill()
    child.wait()
    before = {entry.directory: entry.timestamp for entry in pipeline(tmp_path).cache.entries()}
    made = Pipeline([toy.Source(), toy.Fan(), toy.Upper(toy.LaterConfig(sleep=0.01)), toy.Join()], tmp_path)
    assert sorted(entry.stage for entry in made.cache.entries()) == ["fan", "fan", "source"]
    assert run(made) == ["join all", "upper ar2"]
    assert before.items() <= {entry.directory: entry.timestamp for entry in made.cache.entries()}.items()
    assert joined(made) == "hello 1|HELLO 2"


def test_events_fold_into_the_state_a_screen_shows(tmp_path):
    seen: list[ev.Event] = []
    made = pipeline(tmp_path, fail_at=2)
    made.add_listener(seen.append)
    result = made.construct(INLINE)
    state = RunState()
    (path,) = tmp_path.rglob("events.jsonl")
    for record in read_lines(path):
        state.apply(ev.parse_event(record))
    assert state.run_id == result.run_id
    assert state.status == "failed"
    assert {f"{item.stage} {item.label}": item.status for item in state.items.values()} == {
        "source all": "done",
        "fan ar1": "done",
        "fan ar2": "failed",
        "upper ar2": "blocked",
        "join all": "blocked",
    }
    assert len(seen) == len(read_lines(path))


def test_manifest_and_history_say_what_was_made(tmp_path):
    made = pipeline(tmp_path)
    run(made, PROCESS)
    manifest = made.manifest.read()["stages"]
    assert list(manifest) == ["source", "fan", "upper", "join"]
    assert manifest["fan"]["config"] == "{}"
    assert sorted(manifest["fan"]["items"]) == ["ar1", "ar2"]
    history = read_lines(made.state_folder / "history.jsonl")
    assert history[0]["stage"] == "source"
    costs = [record for record in history if "stage" in record]
    assert len(costs) == 5
    assert all(record["seconds"] > 0 and record["peak_rss"] > 1_000_000 for record in costs)
    assert [record["run"] for record in history[5:]] == [1]
    assert all(item.from_history for item in pipeline(tmp_path, suffix="!").plan().items)


def test_a_stage_that_must_look_first(tmp_path):
    made = Pipeline([toy.Source(toy.SourceConfig(text="four")), toy.LookFirst(), toy.Join()], tmp_path)
    assert len(made.plan().to_run()) == 4
    assert made.construct(INLINE).status == "done"
    assert joined(made) == "4 letters|4 letters"


def test_results_fold_back_over_the_axes(tmp_path):
    result = pipeline(tmp_path).construct(RunOptions(executor="inline", until="upper"))
    assert list(result.output) == [()]
    assert list(result.output[()]) == [(("ar", 1),), (("ar", 2),)]


def test_a_stage_in_the_wrong_place_is_named(tmp_path):
    with pytest.raises(
        ContractViolation, match="stages.fan: source must come before it but comes after\n  put source before fan"
    ):
        Pipeline([toy.Fan(), toy.Source()], tmp_path)
    with pytest.raises(
        ContractViolation, match="stages.upper: no stage before it produces text\n  put source before upper"
    ):
        Pipeline([toy.Upper(), toy.Source()], tmp_path)


class Twice(toy.Fan):
    name = "twice"

    def expand(self, batch, env):
        return Expansion([Task(coord=(("ar", 1),), sources=((),))] * 2)


class Lost(toy.Fan):
    name = "lost"

    def expand(self, batch, env):
        return Expansion([Task(coord=(("ar", 1),), sources=((("ar", 9),),))])


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Twice, "stage twice at ar1: it describes this item twice"),
        (Lost, "stage lost at ar1: its source ar9 does not exist"),
    ],
)
def test_what_a_stage_returns_is_checked(tmp_path, stage: type[Stage], message: str):
    with pytest.raises(ContractViolation, match=message):
        Pipeline([toy.Source(), stage()], tmp_path).plan()


def test_an_unwritable_cache_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CacheError, match="the cache directory cannot be written: .*\n  choose another one with --cache-dir"
    ):
        pipeline(tmp_path / "file").construct(INLINE)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error", "/x"), "/x: the run cannot continue: input/output error\n  choose"),
        (OSError(errno.EACCES, "Permission denied", "/x"), "/x: the run cannot continue: permission denied\n  make"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: no space left on device\n  free space"),
    ],
)
def test_an_error_of_the_file_system_names_the_file_and_not_its_content(tmp_path, monkeypatch, error, told):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("qairt.engine.pipeline.new_run_folder", fail)
    with pytest.raises(CacheError, match=f"^{told}.*; then run again: finished items are kept$"):
        pipeline(tmp_path).construct(INLINE)


def test_a_file_that_changes_while_it_is_read_is_not_published(tmp_path):
    file = tmp_path / "input.txt"
    file.write_text("one")
    made = pipeline(tmp_path / "cache", file=file)

    def edit(event: ev.Event) -> None:
        if isinstance(event, ev.ItemStarted) and event.stage == "source":
            file.write_text("other")

    made.add_listener(edit)
    result = made.construct(INLINE)
    assert [failure.what for failure in result.failed] == [f"{file} changed after this run began"]
    assert not list(made.cache.entries())


def test_damage_is_set_aside_reported_and_made_again(tmp_path):
    made = pipeline(tmp_path)
    run(made)
    (entry,) = made.cache.entries("upper")
    (entry.directory / "text.txt").unlink()
    (source,) = made.cache.entries("source")
    (source.directory / "cache_entry.json").write_text('{"key": ')
    made.manifest.path.write_text("not json")
    again = pipeline(tmp_path)
    assert run(again) == ["source all", "upper ar2"]
    assert joined(again) == "hello 1|HELLO 2"
    assert len(again.warnings) == 3
    assert "text.txt is missing; it was set aside and will be rebuilt" in " ".join(again.warnings)
    assert json.loads(made.manifest.path.read_bytes())["stages"]
    assert os.path.isdir(next(iter(again.cache.leftovers())))


def test_settings_are_read_and_replaced_by_the_name_of_their_stage(tmp_path):
    made = pipeline(tmp_path)
    made.stages.fan.suffix = "!"
    assert made.env().configs["fan"].suffix == "!"
    made.stages.fan = toy.FanConfig(arn=[7])
    assert [item.label for item in made.plan().items if item.stage.name == "fan"] == ["ar7"]
    assert set(dir(made.stages)) == set(made.stage_names())
    message = "there is no stage nothing in this recipe; its stages: source, fan, upper, join"
    for change in (lambda: made.stages.nothing, lambda: setattr(made.stages, "nothing", toy.FanConfig())):
        with pytest.raises(AttributeError, match=message):
            change()
    assert not hasattr(made.stages, "nothing")
