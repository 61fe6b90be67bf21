"""Bundles of graphs that hold their LoRA adapters: strengths are all that a runtime gets."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from adapted_bundle import AdaptedTiny, make_adapted
from tiny_bundle import composed, edit

from qairt.bundle.adapter_files import adapter_file, read_onnx_adapter
from qairt.bundle.check.bundle import check_bundle
from qairt.bundle.contents import Contents
from qairt.files import read_json
from qairt.runtime.chain import PartChain
from qairt.toolchain.genie import dialog as genie

IDS = [39, 68, 75, 75, 78]
NAMES = ["base", "french", "both"]
STRENGTHS = {"base": [0.0, 0.0], "french": [1.0, 0.0], "both": [0.7, 0.5]}
AGAIN = "copy the bundle again, or export it again: qairt export RECIPE DIR"


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> AdaptedTiny:
    return make_adapted(tmp_path_factory.mktemp("switched"), hot_switch=True)


def cpu_tokens(adapted: AdaptedTiny, name: str) -> list[int]:
    with PartChain({1: adapted.parts[1]}, adapted.config, branches=adapted.values[name]) as chain:
        tokens = [int(chain.prefill(IDS).argmax())]
        while len(tokens) < 8:
            tokens.append(int(chain.decode(tokens[-1]).argmax()))
    return tokens


@pytest.fixture(scope="module")
def genie_bundle(adapted: AdaptedTiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime_qnn")
    contents: Contents = adapted.with_adapters(adapted.binaries(ars=(1,), name="one_graph"))
    return composed(contents, tmp_path_factory.mktemp("genie") / "bundle", "genie")


@pytest.mark.compiler
def test_genie_is_told_of_strengths_by_name_and_gives_the_cpus_tokens(genie_bundle: Path, adapted: AdaptedTiny):
    config = read_json(genie_bundle / "genie_config.json")
    assert config["dialog"]["engine"]["model"]["binary"]["lora"] == {
        "version": 1,
        "lora-version": 2,
        "alpha-tensor-name": "lora_alpha",
        "adapters": [{"version": 1, "name": name, "bin-sections": [], "alphas": ["one", "two"]} for name in NAMES],
    }
    assert not (genie_bundle / "lora").exists()
    chosen = '    both)\n      [ -z "$lora" ] || usage\n      lora=both,one,0.7,two,0.5\n'
    assert chosen in (genie_bundle / "run_genie.sh").read_text()
    assert [each.text for each in check_bundle(genie_bundle) if each.status == "error"] == []
    expected = {name: cpu_tokens(adapted, name) for name in NAMES}
    assert len({tuple(tokens) for tokens in expected.values()}) == 3
    config["dialog"]["engine"]["backend"].pop("extensions")
    strengths = {name: dict(zip(("one", "two"), values, strict=True)) for name, values in STRENGTHS.items()}
    with genie.Dialog(config, folder=genie_bundle, strengths=strengths) as dialog:
        for name in ("both", "base", "french", "base", "both"):
            dialog.apply(name)
            assert list(dialog.query_tokens(IDS, max_tokens=8)) == expected[name], name


@pytest.mark.compiler
def test_names_that_do_not_fit_the_graphs_are_found(genie_bundle: Path):
    (genie_bundle / "SHA256SUMS").unlink()
    place = ("dialog", "engine", "model", "binary", "lora")
    edit(genie_bundle / "genie_config.json", *place, "adapters", 1, "alphas", value=["one"])
    found = [f"{each.text}\n  {each.remedy}" for each in check_bundle(genie_bundle) if each.subject == "adapters"]
    assert found == [f"genie_config.json: the adapter french has 1 alpha, lora_alpha has room for 2\n  {AGAIN}"]
    edit(genie_bundle / "genie_config.json", *place, "alpha-tensor-name", value="alpha")
    found = [each.text for each in check_bundle(genie_bundle) if each.subject == "adapters"]
    assert set(found) == {"genie_config.json: alpha-tensor-name is alpha, which is no input of the graphs"}


def test_onnx_runtime_takes_strengths_as_a_run_option(adapted: AdaptedTiny, tmp_path: Path):
    folder = composed(adapted.with_adapters(adapted.onnx()), tmp_path / "bundle", "ort")
    assert [each.text for each in check_bundle(folder) if each.status == "error"] == []
    part = next(part for part in adapted.parts[1] if part.signature.part == 2)
    for name in NAMES:
        path = folder / adapter_file(name, part.signature)
        held = read_onnx_adapter(path)
        assert held.keys() == {"lora_alpha"}
        assert (held["lora_alpha"] == adapted.values[name]["lora_alpha"]).all()
        onnxruntime.LoraAdapter().Load(str(path))
