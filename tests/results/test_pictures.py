"""Pictures that are drawn when somebody looks."""

from __future__ import annotations

import pytest
from toy_outputs import PREDICTION, speaking
from toy_outputs import files_outside_the_cache as files
from toy_outputs import run_inline as run

from qairt.engine.pipeline import Pipeline
from qairt.results.pictures import Drawn, draw_pictures

pytestmark = pytest.mark.usefixtures("drawings")


def items(made: Pipeline) -> dict[tuple[str, str], str]:
    return {(item.stage.name, item.label): item.key for item in made.plan().items}


def test_they_are_drawn_once_and_again_when_they_are_gone(tmp_path, drawings):
    made = run(speaking(tmp_path))
    assert draw_pictures(made, items(made)) == Drawn(("speaker",))
    assert files(tmp_path) == ["speaker/viz/gallery.html", "speaker/viz/words_0.svg"]
    assert draw_pictures(made, items(made)) == Drawn()
    (tmp_path / "speaker/viz/words_0.svg").unlink()
    assert draw_pictures(made, items(made)) == Drawn(("speaker",))
    assert drawings == ["visualization"] * 2


def test_not_of_another_result_than_that_of_the_run(tmp_path):
    made = run(speaking(tmp_path))
    other = run(speaking(tmp_path, word="bye"))
    assert draw_pictures(other, items(made)) == Drawn()
    assert files(tmp_path) == []


def test_not_of_items_that_are_gone(tmp_path):
    made = run(speaking(tmp_path))
    wanted = items(made)
    made.cache.clear()
    assert draw_pictures(made, wanted) == Drawn()


def test_not_where_they_are_forbidden(tmp_path):
    made = run(speaking(tmp_path, {"visualization": {"enable": False}}))
    assert draw_pictures(made, items(made)) == Drawn()
    assert files(tmp_path) == []


def test_with_the_predictions_if_those_are_there(tmp_path, drawings):
    made = run(speaking(tmp_path, PREDICTION))
    (tmp_path / "speaker/viz/predictions.md").unlink()
    assert draw_pictures(made, items(made)) == Drawn(("speaker",))
    assert (tmp_path / "speaker/viz/predictions.md").is_file()
    (tmp_path / "speaker/pred/predictions.jsonl").unlink()
    assert draw_pictures(made, items(made)) == Drawn(("speaker",))
    assert files(tmp_path) == ["speaker/viz/gallery.html", "speaker/viz/words_0.svg"]
    assert drawings == ["prediction", *["visualization"] * 3], "a look writes no predictions"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("ours", "node_7: there is nothing to draw"),
        ("theirs", "ZeroDivisionError: division by zero; this is a bug in the stage"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_sentence(tmp_path, how, why):
    made = run(speaking(tmp_path, fail_drawing=how))
    assert draw_pictures(made, items(made)) == Drawn(failures=(f"The pictures of speaker were not drawn: {why}",))
    assert files(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    made = run(speaking(tmp_path, {"visualization": {"save_dir": "/proc/nowhere/viz"}}))
    assert draw_pictures(made, items(made)).failures == (
        "The pictures of speaker were not drawn: /proc/nowhere/viz: the stage's outputs cannot be written: "
        "no such file or directory; choose another save_dir",
    )


def test_a_recipe_that_no_longer_works_is_a_sentence(tmp_path):
    made = run(speaking(tmp_path))
    wanted = items(made)
    broken = speaking(tmp_path, {"visualization": {"save_dir": str(tmp_path / "pipeline_state/x")}})
    assert draw_pictures(broken, wanted).failures == (
        f"Pictures were not drawn: stages.speaker.output.visualization.save_dir: {tmp_path}/pipeline_state/x is inside "
        "the cache's own folder; choose another folder",
    )
