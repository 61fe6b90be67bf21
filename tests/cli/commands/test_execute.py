"""`qairt execute` on a phone behind the real adb protocol, by ssh, and on this machine; and what it rejects."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_adb import serving
from fake_device_sdk import make_device_sdk, write_net_run
from fake_phone import HOME, FakePhone
from fake_ssh import FakeBoard
from made_so import record_as_made
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.llm import LLMPipeline
from qairt.results.device_selection import DeviceSelection
from qairt.toolchain.qnn.inspection import inspect

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A finished run for the NPU."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_recipe(folder)
    path.write_text(
        path.read_text().replace("context_length: 32", "context_length: 64").replace("splits: 3", "splits: 2")
    )
    assert main(["run", str(path), "--cache-dir", str(folder / "cache"), "--no-tui"]) == 0
    return path, "--cache-dir", str(folder / "cache")


@pytest.fixture
def own(recipe, tmp_path):
    """The same in a cache of its own, to be changed."""
    path, option, cache = recipe
    copy = tmp_path / "work"
    shutil.copytree(path.parent, copy, copy_function=shutil.copy2)
    return copy / "recipe.yaml", option, str(copy / "cache")


@pytest.fixture
def sdk(tmp_path, monkeypatch) -> Path:
    root = make_device_sdk(tmp_path / "sdk")
    monkeypatch.setenv("QAIRT_SDK_ROOT", str(root))
    return root


@pytest.fixture
def phone(tmp_path, monkeypatch, sdk):
    """One phone behind a server that the environment points to."""
    made = FakePhone(tmp_path / "phone")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    with serving(made) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        made.server = server
        yield made


def place_of(phone) -> Path:
    (place,) = (phone.storage / "qairt").iterdir()
    return place


def test_an_answer_from_a_phone_and_the_second_time_nothing_is_sent(qairt, recipe, phone):
    path, *cache = recipe
    said = qairt("execute", path, "hello", *cache)
    assert (said.code, said.out) == (0, "The answer to [USER]HELLO[ASSISTANT] is [END] of it.\n")
    lines = said.err.splitlines()
    assert lines[0] == f"adb device {phone.serial}: Android 14, SM8650 (HTP v75)"
    assert lines[1].startswith("sending ")
    assert lines[3] == "first token after 0.10 s, 8 tokens at 20.25 per second, model loaded in 0.8 s"
    assert lines[4].startswith("kept on the device for the next time: ")
    assert f" in {HOME}/qairt/recipe-" in lines[4]
    assert {entry.name for entry in place_of(phone).iterdir()} == {"bundle", "tool"}

    phone.received.clear()
    again = qairt("execute", path, "hello", *cache)
    assert again.out == said.out
    assert " files are there already" in again.err
    assert set(phone.received) == {"prompt.txt", "genie_config.json"}


def test_what_came_of_it_is_kept_here(qairt, recipe, phone):
    path, *cache = recipe
    data = qairt("execute", path, "hello", "--max-new-tokens", "5", "--json", *cache).data
    assert data["target"] == "device"
    (answer,) = data["answers"]
    assert (answer["prompt"], answer["generated_tokens"], answer["tokens_per_second"]) == ("hello", 8, 20.25)
    place = Path(answer["files"])
    assert place.parent.parent == Path(cache[1]) / "execute"
    assert (place / "prompt.txt").read_text() == "[user]hello[assistant]"
    assert (place / "answer.txt").read_text() == answer["text"]
    assert "Using libGenie.so" in (place / "output.log").read_text()
    assert "GenieDialog_query" in (place / "profile.json").read_text()


def test_system_and_several_prompts_from_a_file(qairt, recipe, phone, tmp_path):
    path, *cache = recipe
    lines = ["plain", {"prompt": "two", "system": "other"}, {"messages": [{"role": "user", "content": "three"}]}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = qairt("execute", path, "--prompt-file", tmp_path / "p.jsonl", "--system", "brief", "--json", *cache)
    texts = [answer["text"] for answer in said.data["answers"]]
    assert texts == [
        f"The answer to {asked} is [END] of it."
        for asked in (
            "[SYSTEM]BRIEF[USER]PLAIN[ASSISTANT]",
            "[SYSTEM]OTHER[USER]TWO[ASSISTANT]",
            "[SYSTEM]BRIEF[USER]THREE[ASSISTANT]",
        )
    ]
    assert "[2/3] two" in said.err
    said = qairt("execute", path, "sdk_root=/nowhere", "--prompt-file", tmp_path / "p.jsonl", *cache)
    assert "there is no folder /nowhere" in said.err


def test_a_bundle_for_another_runtime_is_converted_for_genie(qairt, own, phone):
    path, *cache = own
    word = "stages.export_bundle.format=ort"
    assert qairt("run", path, word, "--no-tui", *cache).code == 0
    said = qairt("execute", path, "hello", word, *cache)
    assert (said.code, said.out) == (0, "The answer to [USER]HELLO[ASSISTANT] is [END] of it.\n")
    assert (place_of(phone) / "bundle" / "genie_config.json").exists()


def test_an_answer_from_a_board_by_ssh(qairt, recipe, tmp_path, monkeypatch):
    path, *cache = recipe
    board = FakeBoard(tmp_path / "board")
    root = make_device_sdk(tmp_path / "sdk", platform="aarch64-oe-linux-gcc11.2")
    monkeypatch.setenv("PATH", f"{board.commands}:/usr/bin:/bin")
    words = ("--target", "ssh", "--device", "pi@board", f"sdk_root={root}", *cache)
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        said = qairt("execute", path, "hello", *words)
        assert (said.code, said.out) == (0, "The answer to [USER]HELLO[ASSISTANT] is [END] of it.\n")
        assert "ssh host pi@board: it does not say which chip it has; the binaries are for SM8650" in said.err
        assert " in qairt/recipe-" in said.err
        (place,) = (board.home / "qairt").iterdir()
        assert {entry.name for entry in place.iterdir()} == {"bundle", "tool"}
        board.fail("pi@board: Permission denied (publickey).\n")
        assert "it does not let this user in" in fault(qairt("execute", path, "hello", *words))
    said = qairt("execute", path, "hello", "--target", "ssh", f"sdk_root={root}", *cache)
    assert "which machine?" in fault(said)


def test_a_chosen_folder(qairt, recipe, phone):
    path, *cache = recipe
    said = qairt("execute", path, "hello", "--device-folder", f"{HOME}/my folder/", *cache)
    assert (said.code, f" in {HOME}/my folder/qairt/recipe-" in said.err) == (0, True)
    for folder in (f"{HOME}/a;b", "-rf", "$HOME", ""):
        said = qairt("execute", path, "hello", "--device-folder", folder, *cache)
        assert "the path of a folder on a device may have letters, digits, spaces and . _ - + /" in fault(said)
    said = qairt("execute", path, "hello", "--device-folder", "/proc/mine", *cache)
    assert "this user may not write there: mkdir: " in fault(said)


def test_clean_leaves_nothing_and_alone_needs_no_prompt(qairt, recipe, phone):
    path, *cache = recipe
    assert qairt("execute", path, "hello", *cache).code == 0
    said = qairt("execute", path, "--clean", *cache)
    assert said.code == 0
    assert said.err.startswith(f"adb device {phone.serial}, {HOME}/qairt/recipe-")
    assert phone.files == set()
    said = qairt("execute", path, "hello", "--clean", *cache)
    assert (said.code, phone.files) == (0, set())
    assert "kept on the device for the next time" not in said.err
    phone.cut_after = 100_000
    said = qairt("execute", path, "hello", "--clean", *cache)
    assert (said.code, phone.files) == (1, set()), "also when it failed"
    assert f"nothing is left in adb device {phone.serial}, {HOME}/qairt/recipe-" in said.err
    assert list(phone.storage.iterdir()) == []
    phone.received.clear()
    assert qairt("execute", path, "no_setting=1", "--clean", *cache).code == 2
    assert phone.received == [], "an override alone is no prompt"
    phone.state = "offline"
    said = qairt("execute", path, "hello", "--clean", *cache)
    assert "it is not ready: offline" in fault(said)
    assert "the device could not be cleaned; --clean without a prompt removes what may be left there" in said.err


def test_two_at_once(qairt, recipe, phone):
    path, *cache = recipe
    pipeline = LLMPipeline.from_recipe(path, cache_dir=cache[1])
    busy = f"adb device {phone.serial}: another qairt is using it with this recipe"
    with pipeline.on_device(DeviceSelection("device")):
        words = [sys.executable, "-m", "qairt", "execute", str(path), "--clean", *cache]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        other = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        assert (other.returncode, busy in other.stderr) == (1, True)
        assert "wait until it has ended" in other.stderr
        assert "bundle" in {entry.name for entry in place_of(phone).iterdir()}
    assert qairt("execute", path, "--clean", *cache).code == 0
    assert phone.files == set()


def test_an_answer_without_its_end(qairt, recipe, phone, sdk):
    path, *cache = recipe
    program = sdk / "bin" / "aarch64-android" / "genie-t2t-run"
    program.write_text("#!/bin/sh\nprintf '[BEGIN]: half an ans'\n")
    said = qairt("execute", path, "hello", *cache)
    assert (said.code, said.out) == (0, "half an ans\n")
    assert "the runtime did not mark the end of this answer: it may be incomplete" in said.err


def test_on_this_machine(qairt, recipe, monkeypatch):
    import io

    path, *cache = recipe
    words = ("--target", "cpu", "--max-new-tokens", "3", *cache)
    (given,) = qairt("execute", path, "hello", "--system", "be", "--json", *words).data["answers"]
    assert given["generated_tokens"] <= 3
    assert given["prompt_tokens"] == len("[system]be[user]hello[assistant]")
    said = qairt("execute", path, "hello", *words)
    assert said.code == 0
    assert said.err.startswith("first token after ")
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello"))
    assert qairt("execute", path, "-", *words).out == said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_on_the_phone_too(recipe, phone, sdk, number):
    path, *cache = recipe
    program = sdk / "bin" / "aarch64-android" / "genie-t2t-run"
    program.write_text("#!/bin/sh\nprintf '[BEGIN]: '; while :; do printf 'more '; sleep 0.1; done\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "qairt", "execute", str(path), "hello", *cache],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.read(20).startswith("more more"), "it comes as it is written"
    (pid,) = (int(file.read_text()) for file in place_of(phone).glob("run-*/pid"))
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Error: interrupted\n" in err
    assert "files stay on the device for the next time" in err
    assert "Traceback" not in err
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    assert {entry.name for entry in place_of(phone).iterdir()} == {"bundle", "tool"}


def test_in_the_vendors_runtime_on_this_machine(qairt, recipe):
    path, *cache = recipe
    said = qairt("execute", path, "hello", "--target", "genie", "--max-new-tokens", "2", "--json", *cache)
    assert said.code == 0
    assert said.data["target"] == "genie"
    (answer,) = said.data["answers"]
    assert (answer["generated_tokens"], answer["prompt_tokens"]) == (2, len("[user]hello[assistant]"))


# Everything that is refused


def test_options_of_devices_are_for_devices(qairt, recipe):
    path, *cache = recipe
    for words in (("--device", "x"), ("--clean",), ("--device-folder", "/x")):
        said = qairt("execute", path, "hello", "--target", "cpu", *words, *cache)
        assert (said.code, "--target cpu runs on this machine" in fault(said)) == (2, True)


def fault(said) -> str:
    assert said.code in (1, 2, 3)
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) >= 2, "what, and what to do"
    return said.err


def test_no_sdk(qairt, recipe, phone, monkeypatch, tmp_path):
    path, *cache = recipe
    monkeypatch.delenv("QAIRT_SDK_ROOT")
    said = qairt("execute", path, "hello", *cache)
    assert said.code == 3
    assert "a device needs libraries of the QAIRT SDK, and sdk_root and QAIRT_SDK_ROOT are not set" in fault(said)
    assert "`qairt execute --target genie` runs the same model on this machine" in said.err
    (tmp_path / "empty").mkdir()
    said = qairt("execute", path, "hello", f"sdk_root={tmp_path / 'empty'}", *cache)
    assert "it is not a QAIRT SDK: it has no lib/" in fault(said)
    monkeypatch.setenv("QAIRT_SDK_ROOT", str(tmp_path / "nowhere"))
    assert f"there is no folder {tmp_path / 'nowhere'}" in fault(qairt("execute", path, "hello", *cache))
    assert phone.server.requests == [], "nothing was asked of a device"


def test_an_sdk_older_than_the_binaries(qairt, recipe, phone, sdk):
    path, *cache = recipe
    (sdk / "sdk.yaml").write_text("version: 2.44.0.251222\n")
    said = qairt("execute", path, "hello", *cache)
    assert said.code == 3
    assert "the SDK is 2.44.0.251222, and the binaries were compiled by v2.51" in fault(said)
    assert "use SDK 2.51 or newer" in said.err
    assert phone.files == set()


def test_an_sdk_that_lacks_libraries_of_the_chip(qairt, recipe, phone, sdk):
    path, *cache = recipe
    (sdk / "lib" / "hexagon-v75" / "unsigned" / "libQnnHtpV75Skel.so").unlink()
    said = qairt("execute", path, "hello", *cache)
    assert said.code == 3
    assert "lib/hexagon-v75/unsigned/libQnnHtpV75Skel.so" in fault(said)
    assert list(phone.storage.iterdir()) == []


def test_a_tool_of_the_sdk_that_does_not_run_there(qairt, recipe, phone, sdk):
    path, *cache = recipe
    (sdk / "bin" / "aarch64-android" / "genie-t2t-run").write_bytes(b"\x7fELF not for this machine")
    said = qairt("execute", path, "hello", *cache)
    assert "genie-t2t-run cannot be started" in fault(said)


def test_a_prompt_longer_than_the_context(qairt, recipe, phone):
    path, *cache = recipe
    said = qairt("execute", path, "x" * 70, *cache)
    assert said.code == 2
    assert "tokens do not fit: the context holds 64" in fault(said)
    assert phone.server.requests == []


def test_a_tokenizer_that_does_not_fit_the_model(qairt, own, phone):
    path, *cache = own
    (tokenizer,) = Path(cache[1]).glob("pipeline_state/model_loading/*/tokenizer/tokenizer.json")
    content = json.loads(tokenizer.read_text())
    content["model"]["vocab"] = {letter: place + 1000 for letter, place in content["model"]["vocab"].items()}
    tokenizer.unlink()
    tokenizer.write_text(json.dumps(content))
    record_as_made(tokenizer)
    said = qairt("execute", path, "hello", *cache)
    assert said.code == 2
    assert "is not in the model's vocabulary of 260" in fault(said)
    assert "the tokenizer and the model do not belong together" in said.err
    assert phone.server.requests == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "prompt: there is no prompt"),
        (("hello", "--prompt-file", "toy.yaml"), "prompt: there are two prompts"),
        (("",), "prompt: the prompt is empty"),
        (("--prompt-file", "none.txt"), "none.txt: cannot be read: No such file or directory"),
        (("--prompt-file", "bad.jsonl"), "bad.jsonl:2: this line is not a prompt"),
        (("--prompt-file", "empty.jsonl"), "empty.jsonl: the file is empty"),
    ],
)
def test_prompts_that_are_none(qairt, recipe, phone, place, words, what):
    path, *cache = recipe
    (place / "bad.jsonl").write_text('"good"\n{"promt": "x"}\n')
    (place / "empty.jsonl").write_text("\n")
    options = words if words and words[0].startswith("--") else (*words,)
    said = qairt("execute", path, *options, *cache)
    assert said.code == 2
    assert f"Error: {what}\n" in fault(said)


def test_a_recipe_for_the_processor_makes_nothing_for_a_device(qairt, recipe, phone):
    path, *cache = recipe
    said = qairt("execute", path, "hello", "backend=CPU", *cache)
    assert said.code == 2
    assert "a device needs graphs compiled for its NPU, which backend: CPU does not produce" in fault(said)
    assert phone.server.requests == []


def test_before_a_run_it_names_the_command_to_run(qairt, recipe, phone):
    said = qairt("execute", recipe[0], "hello", "--cache-dir", "fresh")
    assert said.code == 1
    assert f"  qairt run {recipe[0]} --cache-dir {Path.cwd() / 'fresh'}\n" in said.err


def test_no_device_several_devices_and_one_that_is_not_ready(qairt, recipe, phone, tmp_path):
    path, *cache = recipe
    server = phone.server
    server.phones.append(FakePhone(tmp_path / "other", serial="emu-1", model="Other"))
    said = qairt("execute", path, "hello", *cache)
    assert "2 devices are connected" in fault(said)
    assert qairt("execute", path, "hello", "--device", phone.serial, *cache).code == 0
    server.phones.clear()
    assert "no device is connected" in fault(qairt("execute", path, "hello", *cache))
    phone.state = "unauthorized"
    server.phones.append(phone)
    assert "it is not ready: unauthorized" in fault(qairt("execute", path, "hello", *cache))


def test_a_device_too_old_for_the_binary(qairt, recipe, phone):
    path, *cache = recipe
    phone.properties["ro.soc.model"] = "SM8550"
    assert "it is too old for these binaries" in fault(qairt("execute", path, "hello", *cache))
    assert list(phone.storage.iterdir()) == [], "no empty folder either"


def test_the_cable_is_pulled_and_the_same_command_resumes(qairt, recipe, phone):
    path, *cache = recipe
    phone.cut_after = 100_000
    said = qairt("execute", path, "hello", *cache)
    assert "the connection to the device broke" in fault(said)
    said = qairt("execute", path, "hello", *cache)
    assert (said.code, said.out) == (0, "The answer to [USER]HELLO[ASSISTANT] is [END] of it.\n")


def test_a_crash_on_the_device_is_reported_with_its_log(qairt, recipe, phone, sdk):
    path, *cache = recipe
    program = sdk / "bin" / "aarch64-android" / "genie-t2t-run"
    program.write_text("#!/bin/sh\necho 'loading part 2'\nkill -SEGV $$\n")
    said = qairt("execute", path, "hello", *cache)
    assert "genie-t2t-run was ended by SIGSEGV on the device: loading part 2" in fault(said)
    log = Path(said.err.splitlines()[-1].removeprefix("  log: "))
    assert log.is_relative_to(Path(cache[1]) / "execute")
    assert log.read_text() == "loading part 2\n"
    assert {name.split("/")[2] for name in phone.files} == {"bundle", "tool"}


@pytest.fixture
def net_run(recipe, sdk, tmp_path) -> None:
    """The SDK's `qnn-net-run` knows the graphs of the run's binaries, in the order they have there."""
    path, _, cache = recipe
    pipeline = LLMPipeline.from_recipe(path, cache_dir=cache)
    parts = {part.signature.graph_name: part for of_ar in pipeline.quantized_parts().values() for part in of_ar}
    table = {}
    for binary in Path(cache).glob("pipeline_state/generate_context_binary/*/*.bin"):
        names = [graph.name.lstrip("_") for graph in inspect(binary).graphs]
        specs = {name: {spec.name: spec.dtype for spec in parts[name].signature.inputs} for name in names}
        table[binary.name] = [[str(parts[name].onnx), specs[name]] for name in names]
    assert [len(graphs) for graphs in table.values()] == [2, 2]
    (tmp_path / "table.json").write_text(json.dumps(table))
    write_net_run(sdk / "bin" / "aarch64-android" / "qnn-net-run", tmp_path / "table.json")


def test_evaluating_what_the_phone_computes(qairt, recipe, phone, net_run):
    path, *cache = recipe
    words = ("evaluator.context_length=16", "--dataset", path.parent / "text.txt", "--chunks", "1", "--json", *cache)
    there = qairt("evaluate", path, "--target", "device", *words)
    assert there.code == 0
    assert "runs with QAIRT SDK 2.51" in there.err
    here = qairt("evaluate", path, *words)
    assert there.data["scores"] == here.data["scores"]
    assert "perplexity" in there.data["scores"]
    assert {entry.name for entry in place_of(phone).iterdir()} == {"bundle", "tool"}
    refused = qairt("evaluate", path, "--device", phone.serial, *words)
    assert (refused.code, "--device: --target cpu runs on this machine" in fault(refused)) == (2, True)
    phone.state = "offline"
    assert "it is not ready: offline" in fault(qairt("evaluate", path, "--target", "device", "--chunks", "2", *cache))


def test_verifying_what_the_phone_computes(qairt, recipe, phone, net_run):
    path, *cache = recipe
    said = qairt("verify", path, "--rung", "device", "--part", "2", "--device", phone.serial, "--json", *cache)
    assert said.code == 0, said.err
    (rung,) = said.data["rungs"]
    assert rung["rung"] == "device"
    assert {output["part"] for output in rung["outputs"]} == {2}
    compared = [output["cpu_db"] for output in rung["outputs"] if output["cpu_db"] is not None]
    assert compared
    assert min(compared) > 100
    assert "device" not in {
        found["rung"] for found in qairt("verify", path, "--part", "2", "--json", *cache).data["rungs"]
    }
    phone.server.phones.clear()
    assert "no device is connected" in fault(qairt("verify", path, "--rung", "device", *cache))
