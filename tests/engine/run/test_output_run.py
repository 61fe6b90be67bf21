"""Predictions and pictures: every setting by its effect on disk, and no file of the user lost."""

from __future__ import annotations

import json
import os

import pytest
import toy_stages as toy
from toy_outputs import PICTURES, PREDICTION, Speaker, SpeakerConfig
from toy_outputs import files_outside_the_cache as files
from toy_outputs import run_inline as run
from toy_outputs import speaking as pipeline

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions

INLINE = RunOptions(executor="inline", memory=10**9, jobs=1)

pytestmark = pytest.mark.usefixtures("drawings")


# Where


def test_by_default_a_run_leaves_neither(tmp_path, drawings):
    assert run(pipeline(tmp_path)).status == "done"
    assert files(tmp_path) == []
    assert drawings == []
    assert pipeline(tmp_path).plan().outputs == []


def test_pictures_that_were_asked_for(tmp_path):
    assert run(pipeline(tmp_path, PICTURES)).status == "done"
    assert files(tmp_path) == ["speaker/viz/gallery.html", "speaker/viz/words_0.svg"]


def test_predictions_go_to_pred(tmp_path):
    run(pipeline(tmp_path, PREDICTION))
    assert files(tmp_path) == [
        "speaker/pred/predictions.jsonl",
        "speaker/viz/gallery.html",
        "speaker/viz/predictions.md",
        "speaker/viz/words_0.svg",
    ]


def test_predictions_without_pictures(tmp_path):
    run(pipeline(tmp_path, PREDICTION | {"visualization": {"enable": False}}))
    assert files(tmp_path) == ["speaker/pred/predictions.jsonl"]


def test_with_both_off_nothing_is_left(tmp_path, drawings):
    run(pipeline(tmp_path, {"visualization": {"enable": False}}))
    assert not files(tmp_path)
    assert drawings == []


@pytest.mark.parametrize(
    ("save_dir", "place"),
    [
        (None, "speaker/pred"),
        ("preds", "speaker/preds"),
        ("a/b", "speaker/a/b"),
        (".", "speaker"),
        ("a/../b", "speaker/b"),
        ("ABSOLUTE", "elsewhere/x"),
    ],
)
@pytest.mark.parametrize("kind", ["prediction", "visualization"])
def test_save_dir(tmp_path, kind, save_dir, place):
    given = str(tmp_path / "elsewhere" / "x") if save_dir == "ABSOLUTE" else save_dir
    other = "visualization" if kind == "prediction" else "prediction"
    run(pipeline(tmp_path, {kind: {"enable": True, "save_dir": given}, other: {"enable": False}}))
    expected = place if kind == "prediction" or save_dir else "speaker/viz"
    wanted = "predictions.jsonl" if kind == "prediction" else "words_0.svg"
    assert [path for path in files(tmp_path) if path.endswith(wanted)] == [f"{expected}/{wanted}"]


def test_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run(pipeline(tmp_path / "cache", PREDICTION | {"visualization": {"save_dir": "~/pictures"}}))
    assert "words_0.svg" in files(tmp_path / "home" / "pictures")


@pytest.mark.parametrize("save_dir", ["..", "../x", "a/../../x", "./../x"])
@pytest.mark.parametrize("kind", ["prediction", "visualization"])
def test_a_relative_path_that_leaves_the_stage_is_refused(tmp_path, kind, save_dir):
    with pytest.raises(ValueError, match="is outside the stage's output directory: name a folder inside it"):
        pipeline(tmp_path, {kind: {"save_dir": save_dir}})


@pytest.mark.parametrize("save_dir", ["", "  ", "a\0b"])
def test_a_path_that_is_none_is_refused(tmp_path, save_dir):
    with pytest.raises(ValueError, match="save_dir is not a folder"):
        pipeline(tmp_path, {"prediction": {"save_dir": save_dir}})


# Extra


def test_extra_reaches_the_stage_that_runs_the_model(tmp_path):
    extra = {"extra": {"toy": {"prediction": {"strip_special_tokens": True}}}}
    run(pipeline(tmp_path, PREDICTION | extra))
    said = json.loads((tmp_path / "speaker/pred/predictions.jsonl").read_text())
    assert said == {"text_raw": "hello hi <|end|>", "text_clean": "hello hi"}
    run(pipeline(tmp_path / "other", PREDICTION | extra, model="other_1b"))
    said = json.loads((tmp_path / "other/speaker/pred/predictions.jsonl").read_text())
    assert said["text_clean"] == said["text_raw"]


def test_the_gallery_has_so_many_pictures_so_wide(tmp_path):
    def page(**visualization: int) -> str:
        output = {"extra": {"toy": {"visualization": visualization}}} if visualization else {}
        run(pipeline(tmp_path, PICTURES | output, pictures=3))
        return (tmp_path / "speaker/viz/gallery.html").read_text()

    assert page().count('<img src="words_') == page().count('width="480"') == 3
    assert page(max_images=2).count("<img") == 2
    assert "1 more in this folder" in page(max_images=2)
    assert page(thumbnail_width=96).count('width="96"') == 3


def test_no_gallery_when_it_may_hold_no_picture(tmp_path):
    run(pipeline(tmp_path, PICTURES | {"extra": {"toy_1b": {"visualization": {"max_images": 0}}}}))
    assert files(tmp_path) == ["speaker/viz/words_0.svg"]


def test_the_longer_name_goes_over_the_shorter(tmp_path):
    extra = {
        "toy_1b": {"visualization": {"max_images": 1}},
        "toy": {"visualization": {"max_images": 2, "thumbnail_width": 99}},
    }
    run(pipeline(tmp_path, PICTURES | {"extra": extra}, pictures=3))
    page = (tmp_path / "speaker/viz/gallery.html").read_text()
    assert (page.count("<img"), page.count('width="99"')) == (1, 1)


# What is written again


def test_a_second_run_writes_nothing(tmp_path, drawings):
    run(pipeline(tmp_path, PREDICTION))
    before = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "speaker").rglob("*")}
    made = pipeline(tmp_path, PREDICTION)
    assert [output.reason for output in made.plan().outputs] == ["", ""]
    result = run(made)
    assert (result.executed, result.status) == ([], "done")
    assert drawings == ["prediction", "visualization"]
    assert {path: os.stat(path).st_mtime_ns for path in (tmp_path / "speaker").rglob("*")} == before


@pytest.mark.parametrize(
    ("changed", "written", "reason"),
    [
        ({"visualization": {"save_dir": "v"}}, ["visualization"], "save_dir {0}/viz → {0}/v"),
        (
            {"prediction": {"enable": True, "save_dir": "p"}},
            ["prediction", "visualization"],
            "save_dir {0}/pred → {0}/p",
        ),
        ({"extra": {"toy": {"visualization": {"max_images": 1}}}}, ["visualization"], "extra.max_images 16 → 1"),
        (
            {"extra": {"toy": {"prediction": {"strip_special_tokens": True}}}},
            ["prediction", "visualization"],
            "extra.strip_special_tokens false → true",
        ),
        ({"extra": {"other": {"visualization": {"max_images": 1}}}}, [], None),
    ],
)
def test_changed_settings_write_outputs_and_run_no_item(tmp_path, drawings, changed, written, reason):
    run(pipeline(tmp_path, PREDICTION))
    drawings.clear()
    made = pipeline(tmp_path, PREDICTION | changed)
    due = [output for output in made.plan().outputs if not output.current]
    assert made.plan().to_run() == []
    assert [output.kind for output in due] == written
    folder = str(tmp_path / "speaker")
    if reason is not None:
        # a path is shortened in the middle of a sentence
        assert due[0].reason.split(" ")[0] == reason.split(" ")[0]
        assert folder[:20] in due[0].reason or due[0].reason == reason
    assert run(made).executed == []
    assert drawings == written


def test_turning_a_picture_on_runs_no_item(tmp_path, drawings):
    run(pipeline(tmp_path, {"visualization": {"enable": False}}))
    assert run(pipeline(tmp_path, PICTURES)).executed == []
    assert drawings == ["visualization"]


def test_other_items_are_drawn_again(tmp_path, drawings):
    run(pipeline(tmp_path, PREDICTION))
    made = pipeline(tmp_path, PREDICTION, word="bye")
    assert made.plan().outputs[0].reason == "speaker all is rebuilt"
    run(made)
    assert drawings == ["prediction", "visualization"] * 2
    assert "bye" in (tmp_path / "speaker/pred/predictions.jsonl").read_text()
    run(pipeline(tmp_path, PREDICTION))  # back to items that are in the cache
    assert "hi" in (tmp_path / "speaker/pred/predictions.jsonl").read_text()


def test_forced_items_are_drawn_again_though_their_key_is_the_same(tmp_path, drawings):
    run(pipeline(tmp_path, PICTURES))
    pipeline(tmp_path, PICTURES).construct(RunOptions(executor="inline", memory=10**9, force=frozenset({"speaker"})))
    assert drawings == ["visualization"] * 2


@pytest.mark.parametrize("how", ["removed", "changed", "record lost", "record damaged"])
def test_what_is_gone_is_written_again(tmp_path, drawings, how):
    run(pipeline(tmp_path, PICTURES))
    picture = tmp_path / "speaker/viz/words_0.svg"
    record = tmp_path / "pipeline_state/outputs.json"
    if how == "removed":
        picture.unlink()
    elif how == "changed":
        picture.write_text("mine")
    elif how == "record lost":
        record.unlink()
    else:
        record.write_text('{"speaker": {"visualization": 3}, "x"')
    assert run(pipeline(tmp_path, PICTURES)).status == "done"
    assert drawings == ["visualization"] * 2
    assert picture.read_text().startswith("<svg")


def test_the_cache_commands_do_not_touch_outputs(tmp_path, drawings):
    made = pipeline(tmp_path, PICTURES)
    run(made)
    made.cache.clear()
    assert files(tmp_path) == ["speaker/viz/gallery.html", "speaker/viz/words_0.svg"]
    assert sorted(run(pipeline(tmp_path, PICTURES)).executed) == ["source all", "speaker all"]
    assert [entry.stage for entry in made.cache.entries()] == ["source", "speaker"]


# Nothing lost


def test_a_file_of_somebody_else_is_kept(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "predictions.jsonl").write_text("my own")
    (place / "notes.txt").write_text("my notes")
    seen: list[str] = []
    made = pipeline(tmp_path / "cache", {"prediction": {"enable": True, "save_dir": str(place)}})
    made.add_listener(lambda event: seen.append(event.message) if isinstance(event, ev.LogLine) else None)
    run(made)
    assert files(place) == ["notes.txt", "predictions.jsonl", "predictions.kept1.jsonl"]
    assert (place / "predictions.kept1.jsonl").read_text() == "my own"
    assert seen == [
        f"speaker prediction: predictions.kept1.jsonl in {place} was there before and is kept under this name"
    ]


def test_an_edited_picture_is_kept_when_it_is_drawn_again(tmp_path):
    run(pipeline(tmp_path, PICTURES))
    place = tmp_path / "speaker/viz"
    (place / "words_0.svg").write_text("edited")
    run(pipeline(tmp_path, PICTURES))
    assert (place / "words_0.kept1.svg").read_text() == "edited"
    assert (place / "words_0.svg").read_text().startswith("<svg")


def test_pictures_that_are_no_longer_made_go_unless_they_were_edited(tmp_path):
    run(pipeline(tmp_path, PICTURES, pictures=3))
    place = tmp_path / "speaker/viz"
    (place / "words_2.svg").write_text("edited")
    run(pipeline(tmp_path, PICTURES, pictures=1))
    assert files(place) == ["gallery.html", "words_0.svg", "words_2.svg"]


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    left = tmp_path / "speaker/viz/.making-output-x/content"
    left.mkdir(parents=True)
    (left / "half.svg").write_text("<sv")
    run(pipeline(tmp_path, PICTURES))
    assert files(tmp_path) == ["speaker/viz/gallery.html", "speaker/viz/words_0.svg"]


# Failures and events


@pytest.mark.parametrize(
    ("how", "what"), [("ours", "there is nothing to draw"), ("theirs", "ZeroDivisionError: division by zero")]
)
def test_a_picture_that_cannot_be_drawn_fails_alone(tmp_path, how, what):
    result = run(pipeline(tmp_path, PREDICTION, fail_drawing=how))
    assert result.status == "failed"
    assert sorted(result.executed) == ["source all", "speaker all"]
    (failure,) = result.failed_outputs
    assert (failure.what, failure.stage, failure.label) == (what, "speaker", "visualization")
    assert files(tmp_path) == ["speaker/pred/predictions.jsonl"]
    again = run(pipeline(tmp_path, PREDICTION, fail_drawing=""))
    assert (again.status, again.executed) == ("done", ["speaker all"])


def test_stages_that_finished_leave_outputs_though_a_later_one_failed(tmp_path):
    fan = toy.Fan(toy.FanConfig(fail_at=1))
    speaker = Speaker(SpeakerConfig.model_validate({"output": PICTURES}))
    result = Pipeline([toy.Source(), speaker, fan], tmp_path).construct(INLINE)
    assert result.status == "failed"
    assert "speaker/viz/words_0.svg" in files(tmp_path)


def test_events_and_the_state_say_what_was_written(tmp_path):
    seen: list[ev.OutputWritten] = []
    state = RunState()

    def listen(event: ev.Event) -> None:
        state.apply(ev.parse_event(event.model_dump()))
        if isinstance(event, ev.OutputWritten):
            seen.append(event)

    for _ in range(2):
        made = pipeline(tmp_path, PREDICTION)
        made.add_listener(listen)
        run(made)
    assert [(event.kind, event.status) for event in seen] == [
        ("prediction", "writing"),
        ("prediction", "writing"),
        ("prediction", "written"),
        ("visualization", "writing"),
        ("visualization", "written"),
        ("prediction", "current"),
        ("visualization", "current"),
    ]
    assert (seen[1].fraction, seen[1].message) == (0.5, "speaking")
    assert (seen[2].files, seen[2].reason) == (("predictions.jsonl",), "not written yet")
    assert state.outputs["speaker", "visualization"].status == "current"


def test_an_interrupt_while_predictions_are_written_leaves_nothing_half_written(tmp_path):
    made = pipeline(tmp_path, PREDICTION)

    def stop(event: ev.Event) -> None:
        if isinstance(event, ev.OutputWritten):
            made.stop.set()

    made.add_listener(stop)
    assert run(made).status == "interrupted"
    assert files(tmp_path) == []
    assert run(pipeline(tmp_path, PREDICTION)).executed == []
    assert "speaker/pred/predictions.jsonl" in files(tmp_path)
