from __future__ import annotations

import ast
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import qairt
from qairt.files import append_line, read_lines, set_aside, write_atomic


def test_a_bad_file_and_a_bad_folder_are_renamed_beside_their_place(tmp_path: Path):
    file, folder = tmp_path / "manifest.json", tmp_path / "fan_1a2b3c4d"
    file.write_text("{")
    folder.mkdir()
    (folder / "text.txt").write_text("half")
    assert set_aside(file) == tmp_path / f".bad-manifest.json-{os.getpid()}"
    assert (set_aside(folder) / "text.txt").read_text() == "half"
    assert not file.exists()
    assert not folder.exists()


def test_what_was_set_aside_before_gives_way(tmp_path: Path):
    for text in ("first", "second"):
        folder = tmp_path / "entry"
        folder.mkdir()
        (folder / "text.txt").write_text(text)
        set_aside(folder)
    (only,) = tmp_path.iterdir()
    assert (only / "text.txt").read_text() == "second"


def test_a_torn_line_costs_only_itself(tmp_path: Path):
    path = tmp_path / "history.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "b"')
    append_line(path, {"a": 3})
    with path.open("a") as file:
        file.write("[4]\n")
    assert read_lines(path) == [{"a": 1}, {"a": 3}]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        write_atomic(pipe, "all of it")
        assert read.result(60) == b"all of it"
    assert pipe.is_fifo()


def test_no_text_is_written_or_read_in_the_encoding_of_a_locale():
    found = []
    for path in Path(qairt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "encoding" not in {keyword.arg for keyword in node.keywords}:
                called = ast.unparse(node.func)
                modes = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
                writes = called.endswith(".write_text") or (called.endswith(".read_text") and not node.args)
                opens = called == "open" and not any("b" in mode for mode in modes)
                if writes or opens:
                    found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
