"""Which predictions and pictures are planned, and what is refused before work starts."""

from __future__ import annotations

import os

import pytest
import toy_stages as toy
from toy_outputs import PICTURES, PREDICTION, Speaker, SpeakerConfig
from toy_outputs import run_inline as run
from toy_outputs import speaking as pipeline

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, RecipeError

INLINE = RunOptions(executor="inline", memory=10**9, jobs=1)

pytestmark = pytest.mark.usefixtures("drawings")


def test_the_plan_lists_them_as_data(tmp_path):
    data = pipeline(tmp_path, PICTURES).plan().as_dict()
    assert data["outputs"] == [
        {
            "stage": "speaker",
            "kind": "visualization",
            "directory": str(tmp_path / "speaker/viz"),
            "status": "write",
            "reason": "not written yet",
        }
    ]


def refused(made: Pipeline, message: str) -> None:
    for attempt in (made.check, made.plan, lambda: run(made)):
        with pytest.raises(RecipeError, match=message):
            attempt()
    assert not list(made.cache.entries())


@pytest.mark.parametrize("place", ["pipeline_state", "pipeline_state/speaker", "pipeline_state/blobs/x"])
def test_a_folder_inside_the_cache_is_refused(tmp_path, place):
    made = pipeline(tmp_path, {"visualization": {"save_dir": str(tmp_path / place)}})
    refused(made, rf"stages.speaker.output.visualization.save_dir: {tmp_path}/{place} is inside the cache's own folder")


def test_so_is_one_that_leads_there_by_a_link(tmp_path):
    (tmp_path / "pipeline_state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipeline_state")
    refused(
        pipeline(tmp_path, {"visualization": {"save_dir": str(tmp_path / "link/x")}}), "inside the cache's own folder"
    )


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    made = pipeline(tmp_path / "cache", {"visualization": {"save_dir": str(tmp_path / "file/viz")}})
    refused(made, rf"{tmp_path}/file is not a folder\n  move it away, or choose another folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_the_place_of_the_cache_is_told_as_that(tmp_path):
    (tmp_path / "file").write_text("mine")
    made = pipeline(tmp_path / "file", {"visualization": {"enable": True}})
    for attempt in (made.check, made.plan, lambda: run(made)):
        with pytest.raises(CacheError, match=rf"cannot be written: {tmp_path}/file is not a folder"):
            attempt()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    made = pipeline(tmp_path / "cache", {"visualization": {"save_dir": str(tmp_path / "locked/viz")}})
    refused(made, rf"{tmp_path}/locked cannot be written")


def test_a_place_where_no_folder_can_be_made_is_known_before_work_starts(tmp_path):
    made = pipeline(tmp_path, {"visualization": {"enable": True, "save_dir": "/proc/nowhere/viz"}})
    with pytest.raises((CacheError, RecipeError), match="/proc"):
        run(made)
    assert not list(made.cache.entries())


def test_two_stages_cannot_share_a_folder(tmp_path):
    class Second(Speaker):
        name = "second"

    shared = SpeakerConfig(output={"visualization": {"save_dir": str(tmp_path / "v")}})
    made = Pipeline([toy.Source(), Speaker(shared), Second(shared)], tmp_path / "cache")
    refused(made, f"{tmp_path}/v also receives the outputs of second\n  use a separate folder for each stage")


def test_a_stage_that_makes_no_predictions_says_so(tmp_path):
    source = toy.SourceConfig(output=PREDICTION)
    made = Pipeline([toy.Source(source), Speaker()], tmp_path)
    refused(made, "stages.source.output.prediction.enable: source writes no predictions\n  enable them for speaker")


@pytest.mark.parametrize(
    "output",
    [
        {"predictions": {}},
        {"prediction": {"enabled": True}},
        {"visualization": {"dir": "x"}},
        {"extra": {"toy": {"predict": {}}}},
        {"extra": {"toy": {"prediction": {"max_images": 3}}}},
        {"extra": {"toy": {"visualization": {"max_image": 3}}}},
    ],
)
def test_unknown_keys_are_refused(tmp_path, output):
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        pipeline(tmp_path, output)


def test_outputs_cannot_differ_by_coordinate(tmp_path):
    overrides = [{"where": {"ar": 1}, "set": {"output": {"visualization": {"enable": False}}}}]
    with pytest.raises(ValueError, match="output applies to the whole stage and cannot differ by coordinate"):
        pipeline(tmp_path, overrides=overrides)
