"""What runs chose is found by later commands."""

from __future__ import annotations

from pathlib import Path

from qairt.engine.choices import CHOICES, Choices, Chosen

NINE = Chosen(9, "with 8, one takes 5 GB")


def test_a_choice_is_kept_when_it_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / CHOICES
    choices = Choices(path)
    choices.make("num_splits", "key", NINE)
    assert choices.known("num_splits", "key") is None
    choices.keep()
    assert Choices(path).known("num_splits", "key") == NINE
    assert Choices(path).known("num_splits", "other") is None
    assert Choices(path).known("other", "key") is None


def test_choices_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / CHOICES
    for key in ("one", "two"):
        choices = Choices(path)
        choices.make("num_splits", key, NINE)
        choices.keep()
    assert Choices(path).known("num_splits", "one") == Choices(path).known("num_splits", "two") == NINE


def test_nothing_is_written_where_nothing_was_chosen(tmp_path: Path) -> None:
    Choices(tmp_path / CHOICES).keep()
    assert list(tmp_path.iterdir()) == []
    Choices().make("num_splits", "key", NINE)
    Choices().keep()


def test_a_folder_in_its_place_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / CHOICES
    path.mkdir()
    choices = Choices(path)
    assert choices.known("num_splits", "key") is None
    choices.make("num_splits", "key", NINE)
    choices.keep()
    assert Choices(path).known("num_splits", "key") == NINE


def test_a_damaged_file_is_no_choice_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / CHOICES
    for text in (
        "{",
        '{"num_splits": {"key": {"value": "nine", "why": ""}}}',
        '{"num_splits": {"key": {"value": 0, "why": ""}}}',
        "[]",
    ):
        path.write_text(text)
        choices = Choices(path)
        assert choices.known("num_splits", "key") is None
        choices.make("num_splits", "key", NINE)
        choices.keep()
        assert Choices(path).known("num_splits", "key") == NINE
