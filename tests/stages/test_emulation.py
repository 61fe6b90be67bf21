"""The check of compiled graphs: a form that the compiler gets wrong fails by name, ours passes and is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forms import Form
from tiny_models import save_tiny
from tiny_parts import make_parts
from zoo import FORMS

from qairt.errors import ToolchainError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.quant.config import ModulePrecisions, TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.emulation import REMEDY
from qairt.stages.emulation import EmulatedPiece, EmulationCheck, pieces_of
from qairt.stages.generate_context_binary import GenerateContextBinaryConfig
from qairt.toolchain.base import QuantizedGraph
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

ROWS = 32


def checked(folder: Path, form: str, how: str = "auto") -> list[str]:
    """The steps that a check of this form tells."""
    part = FORMS[form].make(ROWS).part(folder / form.replace(" ", "_"), ROWS)
    steps: list[str] = []
    check = EmulationCheck(SOCS["SM8650"], 3, 1, shared=folder / "shared", scratch=folder)
    check.run(how, [(QuantizedGraph(part.onnx, part.signature), None)], lambda fraction, step: steps.append(step))
    return steps


def test_a_norm_times_cosine_is_wrong_and_named(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as caught:
        checked(tmp_path, "RMSNormalization, Mul(x, cos)")
    error = caught.value
    assert error.what.startswith("the compiled graph differs from the same graph in ONNX Runtime: hidden_1 "), (
        error.what
    )
    assert error.what.endswith(" dB (at least 30)"), error.what
    assert (error.where, error.remedy) == ("ar32-cl512_1_of_1, whole", REMEDY)
    assert not list((tmp_path / "shared").glob("*.json")), "what failed is not remembered"


def test_cosine_times_a_norm_is_right_and_emulated_once(tmp_path: Path) -> None:
    ours = "RMSNormalization, Mul(cos, x)"
    assert checked(tmp_path, ours) == ["emulating ar32-cl512_1_of_1, whole"]
    (stored,) = (tmp_path / "shared").glob("*.json")
    found = EmulatedPiece.model_validate_json(stored.read_text())
    assert found.db["hidden_1"] > 60
    stored.write_text(found.model_copy(update={"piece": "as remembered"}).model_dump_json())
    checked(tmp_path, ours)
    assert "as remembered" in stored.read_text()
    stored.write_text("{")
    checked(tmp_path, ours)
    assert EmulatedPiece.model_validate_json(stored.read_text()) == found, "a damaged record is made anew"
    assert not list(tmp_path.glob("emulated-*"))


def test_nothing_is_emulated_where_nothing_is_asked_for(tmp_path: Path) -> None:
    assert checked(tmp_path, "RMSNormalization, Mul(x, cos)", "none") == []


def test_all_emulates_the_pieces_and_the_whole(tmp_path: Path) -> None:
    form = Form()
    boundary = form.node("Relu", form.input("hidden_0", 1, 4, 8))
    form.output(boundary, "hidden_1")
    form.output(form.node("Sigmoid", "hidden_1"), "logits")
    form.outputs.remove("hidden_1")
    part = form.part(tmp_path)
    graph = QuantizedGraph(part.onnx, part.signature)
    names = {how: [piece.name for piece in pieces_of(graph, how)] for how in ("auto", "all", "none")}
    separate = ["hidden_0 to hidden_1", "hidden_1 to logits"]
    assert names == {"auto": separate, "all": [*separate, "whole"], "none": []}


def test_a_layer_with_a_half_that_was_right_is_emulated_by_its_other_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "hf", "llama", num_hidden_layers=4)
    parameters = open_parameters(tmp_path / "hf", describe_model(tmp_path / "hf").config)
    eight_bits = ("1.mlp.down_proj", "2.mlp.down_proj", "2.self_attn.v_proj", "3.self_attn.v_proj")
    technique = TechniqueConfig(
        technique="minmax",
        weight_bitwidth=4,
        module_precisions=ModulePrecisions(custom={f"model.layers.{name}": 8 for name in eight_bits}),
    )
    encodings = quantize_model(parameters, [np.arange(3, 40)], technique).encodings
    part = make_parts(tmp_path, parameters, ars=[4], cl=16, num_splits=2, encodings=encodings)[4][1]
    check = EmulationCheck(SOCS["SM8650"], 3, 1, shared=tmp_path / "shared", scratch=tmp_path)
    check.run("auto", [(QuantizedGraph(part.onnx, part.signature), None)], lambda fraction, step: None)
    lines = capsys.readouterr().out.splitlines()
    emulated = [line.rpartition(", ")[2].rstrip(")") for line in lines if "emul" not in line and " dB (" in line]
    assert emulated == [
        "hidden_0 to hidden_1",
        "hidden_0 to hidden_1",
        "layers.1.attn.residual to hidden_2",
        "hidden_2 to layers.2.attn.residual",
        "layers.1.attn.residual to hidden_2",
        "hidden_2 to layers.2.attn.residual",
        "hidden_0 to hidden_1",
        "hidden_4 to logits",
    ]
    assert len(list((tmp_path / "shared").glob("*.json"))) == 6, "a layer, four halves, the head"


def test_binaries_from_before_there_was_a_check_are_found() -> None:
    before = {"optimization_level": 3}
    assert GenerateContextBinaryConfig().key_fields() == before
    assert GenerateContextBinaryConfig(toolchain="sdk", emulate="all").key_fields() == before, (
        "an SDK's are not emulated"
    )
    assert GenerateContextBinaryConfig(emulate="none").key_fields() == before | {"emulate": "none"}


def test_it_compiles_as_the_binary_is_compiled(tmp_path: Path) -> None:
    form = FORMS["RMSNormalization, Mul(cos, x)"].make(ROWS)
    part = form.part(tmp_path / "form", ROWS)
    graphs = [(QuantizedGraph(part.onnx, part.signature), None)]

    def check(chip: str, vtcm_mb: int, extended_udma: bool) -> None:
        soc = replace(SOCS[chip], vtcm_mb=vtcm_mb)
        shared = tmp_path / "shared"
        EmulationCheck(soc, 3, 1, shared=shared, scratch=tmp_path, extended_udma=extended_udma).run(
            "auto", graphs, lambda fraction, step: None
        )

    check("SM8850", 8, True)
    check("SM8850", 4, True)
    assert len(list((tmp_path / "shared").glob("*.json"))) == 2, "other compiler options, another result"
    with pytest.raises(ToolchainError, match="the emulator rejects this graph"):
        check("SM8650", 8, True)  # 64-bit DMA begins with HTP v81
