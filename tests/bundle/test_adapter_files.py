"""Bundles with LoRA: the base and two concurrencies, switched in the vendor's runtimes, give the CPU's tokens."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from adapted_bundle import AdaptedTiny, make_adapted
from safetensors.numpy import save_file
from tiny_bundle import composed, edit

from qairt.bundle.adapter_files import (
    adapter_file,
    as_genie_stores,
    branch_inputs,
    genie_values,
    read_onnx_adapter,
    write_onnx_adapter,
)
from qairt.bundle.chat_prompt import PromptAffixes
from qairt.bundle.check.bundle import check_bundle
from qairt.bundle.contents import Contents
from qairt.bundle.run_scripts import genie_script
from qairt.errors import GraphError, ToolchainError
from qairt.files import read_json
from qairt.runtime.chain import PartChain
from qairt.runtime.stored import to_real
from qairt.toolchain.genie import dialog as genie

IDS = [39, 68, 75, 75, 78]
SWITCHED = ["base", "french", "both", "base", "both", "french"]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> AdaptedTiny:
    return make_adapted(tmp_path_factory.mktemp("adapted"))


@pytest.fixture(scope="module")
def expected(adapted: AdaptedTiny) -> dict[str, list[int]]:
    """By concurrency, the CPU's tokens; adapters that do not show would prove nothing."""
    found = {name: cpu_tokens(adapted, name, IDS, 8) for name in adapted.values}
    assert len({tuple(tokens) for tokens in found.values()}) == 3
    return found


def cpu_tokens(adapted: AdaptedTiny, name: str, ids: Sequence[int], count: int, *ars: int) -> list[int]:
    parts = {ar: adapted.parts[ar] for ar in ars or (1,)}
    with PartChain(parts, adapted.config, branches=adapted.values[name]) as chain:
        tokens = [int(chain.prefill(ids).argmax())]
        while len(tokens) < count:
            tokens.append(int(chain.decode(tokens[-1]).argmax()))
    return tokens


def errors(folder: Path) -> list[str]:
    return [f"{each.text}\n  {each.remedy}" for each in check_bundle(folder) if each.status == "error"]


# Genie


@pytest.fixture(scope="module")
def one_graph(adapted: AdaptedTiny) -> Contents:
    pytest.importorskip("onnxruntime_qnn")
    return adapted.with_adapters(adapted.binaries(ars=(1,), name="one_graph"))


@pytest.fixture(scope="module")
def genie_bundle(one_graph: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return composed(one_graph, tmp_path_factory.mktemp("genie") / "bundle", "genie")


@pytest.mark.compiler
def test_genie_switches_between_queries_and_gives_the_cpus_tokens(genie_bundle: Path, expected: dict[str, list[int]]):
    """In one process, from the bundle's own configuration and files."""
    config = read_json(genie_bundle / "genie_config.json")
    config["dialog"]["engine"]["backend"].pop("extensions")
    with genie.Dialog(config, folder=genie_bundle) as dialog:
        for name in SWITCHED:
            dialog.apply(name)
            assert list(dialog.query_tokens(IDS, max_tokens=8)) == expected[name], name
        with pytest.raises(ToolchainError, match=r"Genie: it did not apply the adapter german \(status -1\)"):
            dialog.apply("german")
        assert list(dialog.query_tokens(IDS, max_tokens=8)) == expected["french"], "the one before stays"


@pytest.mark.compiler
def test_a_genie_bundle_is_checked(genie_bundle: Path, adapted: AdaptedTiny):
    findings = [(each.subject, each.text) for each in check_bundle(genie_bundle) if each.status == "ok"]
    assert ("adapters", "base, french, both: the values of 3 LoRA concurrencies fit the graphs") in findings
    assert ("genie", "Genie accepts the configuration and loads all binaries") in findings
    assert errors(genie_bundle) == []
    dialog = read_json(genie_bundle / "genie_config.json")["dialog"]
    assert dialog["engine"]["model"]["binary"]["lora"] == {
        "version": 1,
        "lora-version": 1,
        "adapters": [{"version": 1, "name": name, "path": f"lora/{name}"} for name in ("base", "french", "both")],
    }
    for name, values in adapted.values.items():
        assert {path.stem for path in (genie_bundle / "lora" / name).iterdir()} == values.keys()


AGAIN = "copy the bundle again, or export it again: qairt export RECIPE DIR"


@pytest.mark.compiler
def test_wrong_values_for_genie_are_found(one_graph: Contents, tmp_path: Path):
    folder = composed(one_graph, tmp_path / "bundle", "genie")
    (folder / "SHA256SUMS").unlink()
    values = folder / "lora" / "french"
    (values / "lora_0_q_proj_a.raw").unlink()
    (values / "lora_0_q_proj_b.raw").write_bytes(b"short")
    held = np.fromfile(values / "lora_0_k_proj_a.raw", "<f4")
    (held * 1.1).astype("<f4").tofile(values / "lora_0_k_proj_a.raw")
    np.full_like(held, np.nan).tofile(values / "lora_1_k_proj_a.raw")
    held.tofile(folder / "lora" / "base" / "lora_0_k_proj_a.raw")
    found = [text.removesuffix(f"\n  {AGAIN}") for text in errors(folder)]
    assert found[0] == "lora/base/lora_0_k_proj_a.raw is not zero, so base is not the base model"
    assert found[1:3] == [
        "lora/french/lora_0_q_proj_a.raw is missing",
        "lora/french/lora_0_q_proj_b.raw has 5 bytes, [6, 64] in float32 are 1,536",
    ]
    assert found[3].startswith("lora/french/lora_0_k_proj_a.raw: ")
    assert found[3].endswith("% of its values do not lie on the graphs' grid, so Genie changes them")
    assert found[4:] == ["lora/french/lora_1_k_proj_a.raw holds NaN or infinity"]


@pytest.mark.compiler
def test_without_the_adapters_genie_would_run_on_anything(genie_bundle: Path, tmp_path: Path):
    folder = Path(shutil.copytree(genie_bundle, tmp_path / "bundle"))
    edit(folder / "genie_config.json", "dialog", "engine", "model", "binary", "lora", value=None)
    told = "the graphs take LoRA values, but genie_config.json has no engine.model.binary.lora.adapters"
    assert errors(folder) == [f"{told}\n  {AGAIN}"]


def test_what_genie_rounds_down_is_what_was_stored(adapted: AdaptedTiny):
    """In float32, over every integer of every grid."""
    for spec in branch_inputs(part.signature for part in adapted.parts[1]).values():
        stored = np.arange(256, dtype=np.uint8)
        values = genie_values(stored, spec)
        assert values.dtype == np.float32
        assert np.array_equal(as_genie_stores(values, spec), stored)
        assert np.abs(values - to_real(stored, spec)).max() < 0.3 * spec.scale


def test_the_phones_script_applies_a_concurrency(tmp_path: Path):
    (tmp_path / "genie-t2t-run").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "genie-t2t-run").chmod(0o755)
    script = tmp_path / "run_genie.sh"
    names = {"base": "base", "french": "french"}
    script.write_text(genie_script(PromptAffixes("", "", "None."), htp=75, concurrencies=names))

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(["sh", script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("hi") == (0, "-c|genie_config.json|--lora|base|-p|hi|", "")
    assert run("hi", "french") == (0, "-c|genie_config.json|--lora|french|-p|hi|", "")
    for words in ((), ("hi", "german"), ("hi", "base", "more")):
        assert run(*words) == (
            2,
            "",
            "usage: sh run_genie.sh PROMPT [base|french] [--save FOLDER] [--restore FOLDER]\n",
        )
    assert run("hi", "--save", "c", "french")[1] == f"-c|genie_config.json|--lora|french|--save|{tmp_path}/c|-p|hi|"


# ONNX Runtime


@pytest.fixture(scope="module")
def ort_bundle(adapted: AdaptedTiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ort") / "bundle"
    return composed(adapted.with_adapters(adapted.onnx()), folder, "ort")


def test_the_same_session_with_another_adapter_as_a_run_option_is_that_concurrency(
    ort_bundle: Path, adapted: AdaptedTiny
):
    """Bit for bit what feeding the inputs gives."""
    part = next(part for part in adapted.parts[1] if part.signature.part == 2)
    session = onnxruntime.InferenceSession(ort_bundle / f"part_2_of_3/{part.onnx.name}")
    rng = np.random.default_rng(0)
    plain = {
        spec.name: rng.integers(0, np.iinfo(spec.dtype).max, spec.shape).astype(spec.dtype)
        for spec in part.signature.inputs
        if not spec.name.startswith("lora_")
    }
    names = [spec.name for spec in part.signature.outputs]
    outputs = {}
    for name in SWITCHED:
        options = onnxruntime.RunOptions()
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(ort_bundle / adapter_file(name, part.signature)))
        options.add_active_adapter(adapter)
        # Python's own check refuses a required input that an adapter gives; the runtime itself takes it
        found = session._sess.run(names, plain, options)
        fed = session.run(names, {**plain, **_of(part, adapted.values[name])})
        assert all(np.array_equal(one, other) for one, other in zip(found, fed, strict=True))
        outputs[name] = found[0].tobytes()
    assert len(set(outputs.values())) == 3


def _of(part, values):
    return {spec.name: values[spec.name] for spec in part.signature.inputs if spec.name in values}


def test_onnxruntime_genai_switches_and_gives_the_tokens_of_our_own_chain(ort_bundle: Path, adapted: AdaptedTiny):
    """In one process, as `run_ort.py` does it."""
    pytest.importorskip("onnxruntime_genai")
    code = (
        "import sys, json, numpy, onnxruntime_genai as og\n"
        "for name in json.loads(sys.argv[2]):\n"
        "    config = og.Config(sys.argv[1])\n"
        "    values = open(f'{sys.argv[1]}/lora/{name}.onnx', 'rb').read()\n"
        "    config.add_model_data('lora/base.onnx', values)\n"
        "    model = og.Model(config); settings = og.GeneratorParams(model)\n"
        "    settings.set_search_options(max_length=32, do_sample=False); made = og.Generator(model, settings)\n"
        "    made.append_tokens(numpy.array([json.loads(sys.argv[3])], numpy.int32)); found = []\n"
        "    for _ in range(8): made.generate_next_token(); found.append(int(made.get_next_tokens()[0]))\n"
        "    print('tokens', json.dumps(found))\n"
    )
    words = [sys.executable, "-c", code, str(ort_bundle), json.dumps(SWITCHED), json.dumps(IDS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = [json.loads(line.removeprefix("tokens ")) for line in done.stdout.splitlines() if line.startswith("tokens")]
    assert found == [cpu_tokens(adapted, name, IDS, 8, 1, 8) for name in SWITCHED]


def test_the_scripts_take_a_concurrency(ort_bundle: Path):
    pytest.importorskip("onnxruntime_genai")

    def run(*words: str) -> tuple[int, str, str]:
        script = [sys.executable, str(ort_bundle / "run_ort.py"), *words]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    answers = [run("Hi"), run("Hi", "base"), run("Hi", "french"), run("Hi", "both")]
    assert [code for code, _, _ in answers] == [0] * 4
    assert answers[0] == answers[1]
    assert len({answer for _, answer, _ in answers}) == 3
    assert run("Hi", "german") == (1, "", "usage: python run_ort.py PROMPT [base|french|both]\n")


def test_an_ort_bundle_is_checked_and_its_formats_are_compared(adapted: AdaptedTiny, tmp_path: Path):
    folder = composed(adapted.with_adapters(adapted.onnx()), tmp_path / "bundle", "ort")
    assert errors(folder) == []
    (folder / "SHA256SUMS").unlink()
    part = {name: value for name, value in adapted.values["both"].items() if name.startswith("lora_0_")}
    files = {name: folder / "lora" / name / "part_2_of_3.onnx_adapter" for name in adapted.values}
    write_onnx_adapter(files["french"], part)
    gone = {name: value for name, value in part.items() if name != "lora_0_up_proj_b"}
    write_onnx_adapter(files["both"], gone | {"lora_0_q_proj_a": part["lora_0_q_proj_b"]})
    files["base"].write_bytes(b"nothing")
    found = [text.removesuffix(f"\n  {AGAIN}") for text in errors(folder)]
    assert found[0].startswith("lora/base/part_2_of_3.onnx_adapter: not an ONNX Runtime adapter: ")
    assert found[1:] == [
        "lora/base.onnx gives another lora_0_down_proj_a than the adapters in lora/base hold",
        "lora/french.onnx gives another lora_0_down_proj_a than the adapters in lora/french hold",
        "lora/both/part_2_of_3.onnx_adapter: lora_0_q_proj_a is uint8 [6, 64], in the graph it is uint8 [64, 6]",
        "lora/both/part_2_of_3.onnx_adapter: lora_0_up_proj_b is missing, in the graph it is uint8 [4, 128]",
        "lora/both.onnx gives another lora_0_q_proj_a than the adapters in lora/both hold",
    ]


def test_values_of_other_graphs_are_refused(adapted: AdaptedTiny, tmp_path: Path):
    (tmp_path / "values").mkdir()
    adapters = adapted.adapters(tmp_path / "values")
    save_file({"lora_0_q_proj_a": np.zeros((64, 9), np.uint8)}, tmp_path / "values" / "french.safetensors")
    with pytest.raises(GraphError) as error:
        composed(replace(adapted.onnx(), adapters=adapters), tmp_path / "bundle", "ort")
    assert str(error.value) == (
        "concurrency french: the value of lora_0_q_proj_a is uint8 [64, 9], the graphs take uint8 [64, 6]\n"
        "  run again: the adapters were prepared for other graphs"
    )


def test_an_adapter_is_read_back_as_it_was_written(adapted: AdaptedTiny, tmp_path: Path):
    write_onnx_adapter(tmp_path / "a.onnx_adapter", adapted.values["both"])
    found = read_onnx_adapter(tmp_path / "a.onnx_adapter")
    assert found.keys() == adapted.values["both"].keys()
    assert all(np.array_equal(found[name], value) for name, value in adapted.values["both"].items())
