"""A window over a log file: lines by number while it grows, shrinks, is replaced or is large; what cannot be shown."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qairt.printable import readable
from qairt.tui import log_file
from qairt.tui.lines.log import level_of, since, time_of
from qairt.tui.log_file import BLOCK, Change, LogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "convert.ar1-split2.log"


def opened(path: Path, data: bytes | str) -> LogFile:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    file = LogFile(path)
    file.poll()
    return file


def texts(file: LogFile, start: int = 0, count: int = 1000) -> list[str]:
    return [line.text for line in file.lines(start, count)]


def hits(found: Iterator[int | None]) -> list[int]:
    return [line for line in found if line is not None]


def test_lines_come_by_number(path: Path) -> None:
    file = opened(path, "one\ntwo\n\nfour\n")
    assert file.line_count == 4
    assert texts(file) == ["one", "two", "", "four"]
    assert texts(file, 1, 2) == ["two", ""]
    assert texts(file, 3, 9) == ["four"]
    assert texts(file, 9, 9) == []


def test_a_last_line_without_an_end_is_a_line_and_grows(path: Path) -> None:
    file = opened(path, "one\ntw")
    assert texts(file) == ["one", "tw"]
    with path.open("a") as log:
        log.write("o\nthree")
    assert file.poll() == Change()
    assert texts(file) == ["one", "two", "three"]
    assert file.poll() is None


def test_an_emptied_file_begins_again(path: Path) -> None:
    file = opened(path, "one\ntwo\nthree\n")
    path.write_text("new\n")
    assert file.poll() == Change(replaced=True)
    assert texts(file) == ["new"]


def test_a_file_in_the_place_of_another_is_noticed_even_if_it_is_longer(path: Path, tmp_path: Path) -> None:
    file = opened(path, "one\n")
    other = tmp_path / "other"
    other.write_text("first\nsecond\n")
    os.replace(other, path)
    assert file.poll() == Change(replaced=True)
    assert texts(file) == ["first", "second"]


def test_a_file_that_was_written_anew_in_place_is_noticed(path: Path) -> None:
    file = opened(path, "one\n")
    path.write_text("first\nsecond\n")
    assert file.poll() == Change(replaced=True)
    assert texts(file) == ["first", "second"]


def test_a_missing_file_is_told_and_found_once_it_is_there(path: Path) -> None:
    file = LogFile(path)
    file.poll()
    assert file.problem == "convert.ar1-split2.log does not exist"
    assert file.poll() is None, "nothing is new"
    path.write_text("at last\n")
    assert file.poll() == Change(replaced=True)
    assert (file.problem, texts(file)) == ("", ["at last"])


def test_of_a_removed_file_there_stays_what_it_held(path: Path) -> None:
    file = opened(path, "one\n")
    path.unlink()
    assert file.poll() == Change()
    assert file.problem == "convert.ar1-split2.log does not exist; showing what it contained"
    assert texts(file) == ["one"]


def test_what_is_not_a_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        file = LogFile(path)
        file.poll()
        assert file.problem == f"{path.name} is not a file"
        assert file.lines(0, 10) == []


def test_lines_across_blocks(path: Path) -> None:
    lines = [f"{number} " + "x" * (number % 300) for number in range(3000)]
    file = opened(path, "\n".join(lines))
    assert file.size > 5 * BLOCK
    assert file.line_count == 3000
    assert texts(file, 0, 3000) == lines
    assert [file.line(number).text for number in (2999, 0, 1500, 1)] == [lines[n] for n in (2999, 0, 1500, 1)]


def test_any_pieces_it_grows_by_give_the_same_lines(path: Path) -> None:
    data = "".join(f"{number} " + "y" * (number * 37 % 900) + "\n" for number in range(400)).encode()
    file = opened(path, b"")
    with path.open("ab", buffering=0) as log:
        for at in range(0, len(data), 7919):
            log.write(data[at : at + 7919])
            file.poll()
    assert "\n".join(texts(file)).encode() + b"\n" == data


def test_a_line_of_100_000_columns_is_read_only_as_far_as_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "".join(f"{number:06}," for number in range(15_000))
    file = opened(path, f"short\n{long}\nafter\n")
    read: list[int] = []
    real = os.pread
    file.lines(0, 3, 80)  # now the line ends are known
    monkeypatch.setattr(log_file.os, "pread", lambda fd, size, at: (read.append(size), real(fd, size, at))[1])
    lines = file.lines(0, 3, 80)
    assert [line.text for line in lines] == ["short", long[:80], "after"]
    assert [line.more for line in lines] == [False, True, False]
    assert sum(read) < 10_000
    assert file.line(1).text == long


def test_escapes_do_not_shorten_what_is_read_of_a_long_line(path: Path) -> None:
    file = opened(path, "".join(f"\x1b[38;5;{number % 256}mx\x1b[0m" for number in range(30_000)))
    assert file.line(0, 500).text == "x" * 500


def test_progress_of_a_megabyte_is_its_last_state(path: Path) -> None:
    progress = "".join(f"\r{number:>6}/100000 {'#' * 30}" for number in range(30_000))
    file = opened(path, "begin\n" + progress)
    assert texts(file) == ["begin", f" 29999/100000 {'#' * 30}"]


def test_a_large_files_tail_is_there_at_once_and_the_rest_soon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_AT_ONCE", 4 * BLOCK)
    monkeypatch.setattr(log_file, "_TAIL", 2 * BLOCK)
    lines = [f"line {number}" for number in range(200_000)]
    path.write_text("\n".join(lines) + "\n")
    file = LogFile(path)
    first = file.poll()
    assert first is not None
    assert first.replaced
    shift = first.shift  # on a quick machine all of it is there already
    known = file.line_count - shift
    assert known < 20_000
    assert file.lines(file.line_count - 1, 1)[0].text == "line 199999"
    with path.open("a") as log:
        log.write("grown\n")
    end = time.monotonic() + 10
    while (not shift or file.line_count < 200_001) and time.monotonic() < end:
        change = file.poll()
        shift += change.shift if change else 0
    assert shift + known == 200_000
    assert file.indexed == 1
    assert file.line_count == 200_001
    for number in (0, 1, 77_777, 199_999):
        assert file.line(number).text == lines[number]
    assert file.line(200_000).text == "grown"
    file.close()


def test_closing_lets_go_and_polling_opens_again(path: Path) -> None:
    file = opened(path, "one\n")
    file.close()
    assert file.lines(0, 1)[0].text == ""
    assert file.poll() == Change(replaced=True)
    assert texts(file) == ["one"]


# Finding


def test_search_goes_forwards_and_backwards_in_either_case(path: Path) -> None:
    file = opened(path, "Alpha\nbeta\nALPHA beta\ngamma\nalphabet")
    assert hits(file.search("alpha", 0, 1)) == [0, 2, 4]
    assert hits(file.search("alpha", 1, 1)) == [2, 4]
    assert hits(file.search("alpha", 4, -1)) == [4, 2, 0]
    assert hits(file.search("alpha", 3, -1)) == [2, 0]
    assert hits(file.search("a.pha", 0, 1)) == [], "it is a text, not a pattern"


def test_search_finds_what_is_shown_not_what_is_hidden(path: Path) -> None:
    file = opened(path, "\x1b[31mer\x1b[0mror\nover\rwritten\n")
    assert hits(file.search("error", 0, 1)) == [0]
    assert hits(file.search("over", 0, 1)) == []


@pytest.mark.parametrize("chunk", [64, 300, 5000])
def test_search_in_chunks_finds_every_line_both_ways(path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(log_file, "_CHUNK", chunk)
    monkeypatch.setattr(log_file, "_OVERLAP", 16)
    lines = [("needle " if number % 7 == 3 else "") + "x" * (number * 13 % 90) for number in range(500)]
    lines[250] = "z" * 2000 + "needle" + "z" * 2000
    file = opened(path, "\n".join(lines))
    wanted = [number for number, line in enumerate(lines) if "needle" in line]
    assert sorted(set(hits(file.search("needle", 0, 1)))) == wanted
    assert sorted(set(hits(file.search("needle", 499, -1)))) == wanted
    assert next(iter(hits(file.search("needle", 240, 1)))) == 241
    assert next(iter(hits(file.search("needle", 251, -1)))) == 250


def test_search_gives_way_between_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_CHUNK", 1000)
    file = opened(path, "filler\n" * 1000 + "needle\n")
    found = list(file.search("needle", 0, 1))
    assert found.count(None) >= 7
    assert [line for line in found if line is not None] == [1000]


def test_a_search_ends_when_the_file_is_replaced(path: Path) -> None:
    file = opened(path, "needle\n" * 10)
    search = file.search("needle", 0, 1)
    assert next(search) == 0
    path.write_text("x\n")
    file.poll()
    assert list(search) == []


def test_next_error_skips_lines_that_tell_of_none(path: Path) -> None:
    file = opened(
        path, "start\n0 errors, 3 warnings\nERROR: no\nTraceback (most recent call last):\nValueError: x\nmirrored\n"
    )
    assert hits(file.next_error(0)) == [2, 3, 4]
    assert hits(file.next_error(3)) == [3, 4]
    assert hits(file.next_error(3, -1)) == [3, 2]


# Text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"bell\x07 nul\x00 back\x08", "bell nul back"),
        (b"a\tb", "a       b"),
        (b"10 %\r20 %\r30 %", "30 %"),
        (b"10 %\r20 %\r", "20 %"),
        (b"windows\r\nlines\r\n", "windows\nlines\n"),
        (b"bad \xff\xfe utf-8", "bad \ufffd\ufffd utf-8"),
        ("hidden \u202e turned \u200b".encode(), "hidden  turned "),
        ("漢字 é 🙂".encode(), "漢字 é 🙂"),
        (b"[bold]not markup[/]", "[bold]not markup[/]"),
        (b"cut \x1b[3", "cut 3"),
        (b"\x9b31m", "\ufffd31m"),
    ],
)
def test_readable(data: bytes, text: str) -> None:
    assert readable(data) == text


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    every = bytes(range(256)) + "".join(map(chr, range(0x80, 0x2100))).encode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u202a-\u202e\u2028]", readable(every))


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[ERROR] no such op", "error"),
        ("RuntimeError: x", "error"),
        ("3 tests failed", "error"),
        ("0 errors", ""),
        ("errors: 0", ""),
        ("no errors, but fatal", "error"),
        ("UserWarning: deprecated", "warning"),
        ("WARN slow", "warning"),
        ("all is well", ""),
        ("mirrored", ""),
    ],
)
def test_level_of(text: str, level: str) -> None:
    assert level_of(text) == level


def test_times_of_lines() -> None:
    assert time_of("22:13:56 ctx-gen [INFO]") == 22 * 3600 + 13 * 60 + 56
    assert time_of("[2026-01-02T03:04:05.500] x") == 3 * 3600 + 4 * 60 + 5.5
    assert time_of("2026-01-02 03:04:05,250 - INFO") == 3 * 3600 + 4 * 60 + 5.25
    assert time_of("     12.5ms [ INFO ] QNN") == 0.0125
    assert time_of("op 22:13:56") is None
    assert since(23 * 3600 + 3599, 5) == "+0:00:06", "midnight lies between"


def test_the_first_time_of_a_log(path: Path) -> None:
    assert opened(path, "banner\n10:00:01 a\n10:00:02 b\n").first_time() == 36001
    path.unlink()
    assert opened(path, "no\ntimes\n").first_time() is None
