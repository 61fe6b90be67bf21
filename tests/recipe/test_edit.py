"""One value changed in a recipe's file, everything else kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from qairt.errors import CacheError, RecipeError
from qairt.recipe.edit import set_value

TEXT = """\
# a recipe
stages:
  fan:
    suffix: 'a'   # put behind
    sleep: 1e-3
    arn: [1, 2]   # lengths
    base: &base 3
    other: *base
    note: >
      long
      text
  split.num: 4
  flow: {a: 1, b: "x: y"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("path", "value", "line", "after"),
    [
        ("stages.fan.suffix", "b", 4, "    suffix: b   # put behind"),
        ("stages.fan.suffix", "yes", 4, "    suffix: 'yes'   # put behind"),
        ("stages.fan.suffix", "", 4, "    suffix: ''   # put behind"),
        ("stages.fan.suffix", None, 4, "    suffix: null   # put behind"),
        ("stages.fan.sleep", 0.5, 5, "    sleep: 0.5"),
        ("stages.fan.arn.1", 64, 6, "    arn: [1, 64]   # lengths"),
        ("stages.split.num", 8, 12, "  split.num: 8"),
        ("stages.flow.b", "p, q}", 13, "  flow: {a: 1, b: 'p, q}'}"),
    ],
)
def test_one_line_changes(file: Path, path: str, value: Any, line: int, after: str) -> None:
    change = set_value(file, tuple(path.split(".")), value)
    assert (change.line, change.before, change.after) == (line, TEXT.splitlines()[line - 1], after)
    assert file.read_text() == TEXT
    change.apply()
    lines = TEXT.splitlines()
    lines[line - 1] = after
    assert file.read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages.fan.nothing", 1, "stages.fan.nothing is not set in this file"),
        ("stages.fan.arn", 1, "stages.fan.arn is not a single word on one line"),
        ("stages.fan.suffix", [1], r"\[1\] is not a single word"),
        ("stages.fan.base", 4, "stages.fan.base is shared with other settings"),
        ("stages.fan.other", 4, "stages.fan.other is not set in this file"),
        ("stages.fan.note", "x", "stages.fan.note is not a single word on one line"),
    ],
)
def test_values_that_are_not_a_single_word_are_refused(file: Path, path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        set_value(file, tuple(path.split(".")), value)
    assert caught.value.remedy
    assert file.read_text() == TEXT


def test_a_file_that_has_changed_is_not_written(file: Path) -> None:
    change = set_value(file, ("stages", "fan", "suffix"), "b")
    file.write_text(TEXT + "more: 1\n")
    with pytest.raises(RecipeError, match="the file has changed in the meantime"):
        change.apply()
    assert file.read_text() == TEXT + "more: 1\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EROFS, "the recipe cannot be written: read-only file system\n  make it writable, or {instead}"),
        (
            errno.ENOSPC,
            "no space left on device\n  free space on that disk (`qairt cache prune` removes what no run needs), or "
            "{instead}",
        ),
    ],
)
def test_a_disk_that_is_full_or_read_only(file: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    change = set_value(file, ("stages", "fan", "suffix"), "b")
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CacheError) as raised:
        change.apply()
    assert str(raised.value) == f"{file}:4: {told.format(instead='work on a copy of it elsewhere')}"
    assert file.read_text() == TEXT


def test_line_ends_links_and_modes_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes("\ufeffa: 1\r\nb: ü # x\r\nc: 3".encode())
    file.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    set_value(link, ("b",), "z").apply()
    set_value(link, ("c",), 4).apply()
    assert file.read_bytes() == "\ufeffa: 1\r\nb: z # x\r\nc: 4".encode()
    assert link.is_symlink()
    assert os.stat(file).st_mode & 0o777 == 0o600
