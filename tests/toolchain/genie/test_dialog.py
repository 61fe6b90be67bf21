"""Genie in its child: the vendor's complaints, a child that hangs or dies, a wheel without it."""

from __future__ import annotations

import copy
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from qairt.errors import GenerationError, ToolchainError, ToolchainNotAvailable
from qairt.toolchain.genie import dialog as genie
from qairt.toolchain.genie.config import binaries_of
from qairt.toolchain.genie.process import GenieProcess

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

CONFIG: dict[str, Any] = {
    "dialog": {
        "version": 1,
        "type": "basic",
        "context": {"version": 1, "size": 32, "n-vocab": 260, "bos-token": -1, "eos-token": 256},
        "sampler": {"version": 1, "seed": 0, "temp": 0.0, "top-k": 1, "top-p": 1.0, "greedy": True},
        "tokenizer": {"version": 1, "path": "tokenizer.json"},
        "engine": {
            "version": 1,
            "n-threads": 1,
            "backend": {
                "version": 1,
                "type": "QnnHtp",
                "QnnHtp": {
                    "version": 1,
                    "use-mmap": True,
                    "spill-fill-bufsize": 0,
                    "mmap-budget": 0,
                    "poll": False,
                    "cpu-mask": "0x1",
                    "kv-dim": 16,
                    "pos-id-dim": 8,
                    "rope-theta": 10000.0,
                    "allow-async-init": False,
                },
            },
            "model": {"version": 1, "type": "binary", "binary": {"version": 1, "ctx-bins": ["a.bin", "b.bin"]}},
        },
    }
}


def without_tokenizer() -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    del config["dialog"]["tokenizer"]
    return config


def test_a_good_config_has_no_complaints_and_nothing_is_printed(capfd):
    assert genie.check_config(CONFIG) == []
    assert capfd.readouterr() == ("", "")


def test_the_vendors_own_words_about_a_bad_config():
    complaints = genie.check_config(without_tokenizer())
    assert complaints[-1] == "- at '/': required property 'tokenizer' not found in object"
    config = copy.deepcopy(CONFIG)
    config["dialog"]["engine"]["backend"]["type"] = "QnnTpu"
    assert any("enum" in complaint for complaint in genie.check_config(config))


def test_what_genie_refused_is_never_taken_for_good(monkeypatch):
    monkeypatch.setattr(GenieProcess, "complaints", lambda self: [])
    assert genie.check_config(without_tokenizer()) == ["Genie rejected it with status -8 and no message"]


def test_nothing_is_left_of_a_process(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = GenieProcess(genie.require(), None)
    process.request(do="check", config=without_tokenizer())
    assert process.status(30.0)["status"] == -8
    assert any("required property" in line for line in process.complaints())
    assert process.complaints() == []
    assert not list(tmp_path.iterdir()), "also when this process is killed"
    process.close()


def test_a_dialog_without_its_files(tmp_path: Path):
    complaints = genie.try_dialog(CONFIG, folder=tmp_path)
    assert "Failed to open input file: tokenizer.json" in complaints
    assert "NSPModel: Can't access model file : a.bin" in complaints
    with pytest.raises(ToolchainError, match="Genie: it rejected the model .* Can't access model file : a.bin"):
        genie.Dialog(CONFIG, folder=tmp_path)


def test_a_damaged_binary_is_left_to_genie(tmp_path: Path):
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"no binary" * 1000)
    assert genie.try_dialog(CONFIG, folder=tmp_path)


def test_paths_begin_in_the_folder(tmp_path: Path):
    assert binaries_of(CONFIG, tmp_path) == [tmp_path / "a.bin", tmp_path / "b.bin"]
    assert binaries_of({"dialog": []}) == []
    assert binaries_of(CONFIG | {"dialog": {"engine": {"model": {"binary": {"ctx-bins": "a.bin"}}}}}) == []


def test_a_child_that_hangs_is_ended():
    process = GenieProcess(genie.require(), None)
    os.kill(process.pid, signal.SIGSTOP)
    process.request(do="check", config=CONFIG)
    with pytest.raises(ToolchainError, match="Genie: no reply after 1 s, so its process was killed"):
        process.status(1.0)
    assert not psutil.pid_exists(process.pid)
    process.close()


def test_a_child_that_dies_says_of_what():
    process = GenieProcess(genie.require(), None)
    os.kill(process.pid, signal.SIGSEGV)
    with pytest.raises(ToolchainError, match=r"Genie: died by signal 11 \(SIGSEGV\)"):
        process.status(30.0)
    with pytest.raises(ToolchainError, match=r"died by signal 11"):
        process.request(do="check", config=CONFIG)
    process.close()


def test_a_wheel_without_genie(tmp_path: Path, monkeypatch):
    (tmp_path / "onnxruntime_qnn").mkdir()
    (tmp_path / "onnxruntime_qnn" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "onnxruntime_qnn", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for call in (genie.check_config, genie.try_dialog, genie.Dialog):
        with pytest.raises(ToolchainNotAvailable, match="has no libGenie.so\n  pip install onnxruntime-qnn=="):
            call(CONFIG)


def test_another_machine(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(ToolchainNotAvailable, match="the wheel's Genie runs on x86-64 Linux, this is .* aarch64"):
        genie.require()


def test_the_context_is_never_left():
    assert genie.room_after(31, 32) == 1
    with pytest.raises(GenerationError, match="prompt: 32 tokens do not fit: the context holds 32, including"):
        genie.room_after(32, 32)
