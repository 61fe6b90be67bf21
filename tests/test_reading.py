"""Files are read through `qairt.files`, which never waits for a FIFO or device in a file's place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import qairt

SOURCE = Path(qairt.__file__).parent
OF_THE_SYSTEM = {
    "engine/record/folder.py",  # /proc
    "engine/run/guard.py",  # /proc
    "engine/run/usage.py",  # /proc
    "machine.py",  # /proc and /sys
    "profiling/machine_use.py",  # /proc and /sys
    "profiling/process_tree.py",  # /proc
    "stages/float_profile/hardware.py",  # /proc
    "stages/float_profile/memory_trace.py",  # /proc
    "tui/actions/leave.py",  # /etc
}
OF_OURS = {
    "engine/shared_store/builders.py",  # the record of an installed package
    "model/chat_child.py",  # a pipe
    "report/render.py",  # a resource of the package
    "toolchain/qnn/compile_child.py",  # runs where qairt cannot be imported
    "toolchain/qnn/inspect_child.py",  # runs where qairt cannot be imported
}


def mode_of(call: ast.Call, position: int) -> str:
    """The mode of a call of `open`."""
    stated = [word.value for word in call.keywords if word.arg == "mode"] or call.args[position : position + 1]
    return str(stated[0].value) if stated and isinstance(stated[0], ast.Constant) else "r"


def reads(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that would read a file without `qairt.files`."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        match call.func:
            case ast.Attribute(attr="read_text" | "read_bytes"):
                yield call
            case ast.Attribute(value=ast.Name(id="json"), attr="load"):
                yield call
            case ast.Name(id="open") if "r" in mode_of(call, 1):
                yield call
            case ast.Attribute(attr="open") if any(
                isinstance(word, ast.Constant) and word.value in ("r", "rb", "rt") for word in call.args
            ):
                yield call


def test_every_file_is_read_through_one_place() -> None:
    found = {
        str(path.relative_to(SOURCE)): call.lineno
        for path in SOURCE.rglob("*.py")
        for call in reads(ast.parse(path.read_bytes()))
    }
    strange = found.keys() - OF_THE_SYSTEM - OF_OURS
    assert not strange, f"use qairt.files: {[(name, found[name]) for name in strange]}"
    assert found.keys() == OF_THE_SYSTEM | OF_OURS
