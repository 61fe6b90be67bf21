"""`genie-t2t-run` on a phone: what comes of a prompt, and of everything that goes wrong with it."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import pytest
from fake_device_sdk import make_device_sdk
from fake_phone import HOME
from wait import until

from qairt.device.delivery import Folder
from qairt.device.device_run import forget_runs
from qairt.device.facts import ask
from qairt.device.genie import ask_genie, for_one_prompt, read_config
from qairt.device.sdk_files import GENIE, sdk_files
from qairt.errors import DeviceError
from qairt.toolchain.soc import SOCS

PLACE = f"{HOME}/qairt/toy-1"
CONFIG = {
    "dialog": {"engine": {"model": {"binary": {"ctx-bins": ["part_1.bin", "part_2.bin"]}}}, "tokenizer": {"path": "t"}}
}


@pytest.fixture
def folder(device, phone, tmp_path) -> Folder:
    """Everything is on the phone."""
    local = tmp_path / "bundle"
    local.mkdir()
    files = {}
    for name in ("part_1.bin", "part_2.bin", "tokenizer.json"):
        (local / name).write_text(name)
        files[f"bundle/{name}"] = local / name
    root = make_device_sdk(tmp_path / "sdk")
    made = Folder(device, PLACE)
    made.deliver(files | sdk_files(root, [GENIE], ask(device, PLACE), SOCS["SM8650"]), hashing=True)
    return made


def only_what_was_delivered(phone) -> bool:
    return {name.split("/")[2] for name in phone.files} == {"bundle", "tool"}


def test_an_answer_comes_as_it_is_written_and_nothing_is_left(folder, phone):
    shown: list[str] = []
    answer = ask_genie(folder, CONFIG, '[u]what\'s "this"; $(reboot) `id`\nlife', show=shown.append)
    assert answer.text == "The answer to LIFE is [END] of it."
    assert "".join(shown) == answer.text
    assert answer.timing.init_s == pytest.approx(0.85)
    assert answer.timing.time_to_first_token_s == pytest.approx(0.1)
    assert (answer.timing.prompt_tokens, answer.timing.generated_tokens) == (9, 8)
    assert answer.timing.tokens_per_second == 20.25
    assert "Using libGenie.so version 1.21.0" in answer.log
    assert answer.profile is not None
    assert only_what_was_delivered(phone)
    assert not any("reboot" in command for command in phone.commands), "no shell reads the prompt"


def test_a_configuration_for_one_prompt():
    config = {"dialog": {"context": {"size": 64, "bos-token": 1}, "type": "basic"}}
    assert for_one_prompt(config, max_new_tokens=7, has_begin=True) == {
        "dialog": {"context": {"size": 64, "bos-token": -1}, "type": "basic", "max-num-tokens": 7}
    }
    assert for_one_prompt(config, max_new_tokens=7, has_begin=False)["dialog"]["context"]["bos-token"] == 1
    assert config == {"dialog": {"context": {"size": 64, "bos-token": 1}, "type": "basic"}}


def fault(folder: Folder) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        ask_genie(folder, CONFIG, "hi", show=lambda text: None)
    return caught.value


def test_a_runner_that_crashes(folder, phone):
    phone.here(f"{PLACE}/tool/crash").touch()
    error = fault(folder)
    assert error.what == (
        "genie-t2t-run was ended by SIGSEGV on the device: Using libGenie.so version 1.21.0 / "
        '[INFO]  "Using create From Binary"'
    )
    assert "an SDK at least as new as the compiler's" in str(error.remedy)
    phone.here(f"{PLACE}/tool/crash").unlink()
    assert only_what_was_delivered(phone)


def test_a_fault_that_the_vendor_has_a_number_for(folder, phone):
    program = phone.here(f"{PLACE}/tool/genie-t2t-run")
    program.write_text('#!/bin/sh\necho "[ERROR] Device creation error: 14001"\nexit 1\n')
    error = fault(folder)
    assert error.what == "genie-t2t-run failed (1) on the device: [ERROR] Device creation error: 14001"
    assert str(error.remedy).startswith("the NPU could not be initialised")


def test_a_program_that_is_missing_or_may_not_run(folder, phone):
    program = phone.here(f"{PLACE}/tool/genie-t2t-run")
    program.chmod(0o644)
    error = fault(folder)
    assert error.what.startswith("genie-t2t-run cannot be started: ")
    assert "ermission denied" in error.what
    program.unlink()
    assert fault(folder).what.endswith("not found")


def test_a_program_that_ends_well_and_wrote_nothing(folder, phone):
    phone.here(f"{PLACE}/tool/genie-t2t-run").write_text("#!/bin/sh\necho loaded\n")
    assert fault(folder).what == "genie-t2t-run ended as if all were well, but wrote no answer: loaded"


def test_ctrl_c_ends_the_program_on_the_device_and_leaves_nothing(folder, phone):
    phone.here(f"{PLACE}/tool/slow").touch()

    def stop() -> None:
        with suppress(AssertionError):
            until(lambda: pids(phone), 10)
        running.extend(pids(phone))
        os.kill(os.getpid(), signal.SIGINT)

    running: list[int] = []
    shown: list[str] = []
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ask_genie(folder, CONFIG, "hi", show=shown.append)
    thread.join()
    assert len(running) == 1
    assert ended(running[0])
    phone.here(f"{PLACE}/tool/slow").unlink()
    assert only_what_was_delivered(phone)


def test_what_a_lost_computer_left_is_removed_and_what_runs_is_not(folder, phone):
    folder.make("run-dead")
    phone.here(f"{PLACE}/run-dead/pid").write_text("2147483646\n")
    folder.make("run-new")
    folder.make("run-alive")
    phone.here(f"{PLACE}/run-alive/pid").write_text(f"{os.getpid()}\n")
    forget_runs(folder)
    assert [path.name for path in phone.here(PLACE).glob("run-*")] == ["run-alive"]


def test_a_configuration_that_is_none(tmp_path):
    for text in ("{", "[]", '{"dialog": {}}'):
        (tmp_path / "genie_config.json").write_text(text)
        with pytest.raises(DeviceError, match="it is not a configuration of Genie"):
            read_config(tmp_path / "genie_config.json")


def pids(phone) -> list[int]:
    found = []
    for path in phone.here(PLACE).glob("run-*/pid"):
        text = path.read_text().strip()
        found += [int(text)] if text else []
    return found


def ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
