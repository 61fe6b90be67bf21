"""Pieces of a quantized part: one layer of each form and the head, each computing what the whole part computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny
from tiny_parts import make_parts, measured_encodings

from qairt.graph import files
from qairt.graph.pieces import Piece, cut_piece, pieces, whole
from qairt.graph.session import open_session
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.quant.config import ModulePrecisions, TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.emulation import stored_inputs
from qairt.runtime.parts import PartGraph

IDS = np.random.default_rng(0).integers(3, 120, 40).tolist()


def quantized(
    folder: Path, num_splits: int = 2, technique: TechniqueConfig | None = None, family: str = "llama"
) -> list[PartGraph]:
    save_tiny(folder / "hf", family, num_hidden_layers=3)
    parameters = open_parameters(folder / "hf", describe_model(folder / "hf").config)
    encodings = measured_encodings(parameters, IDS)
    if technique is not None:
        encodings = quantize_model(parameters, [np.asarray(IDS)], technique).encodings
    return make_parts(folder, parameters, ars=[4], cl=16, num_splits=num_splits, encodings=encodings)[4]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> PartGraph:
    """All three layers and the head."""
    return quantized(tmp_path_factory.mktemp("pieces"))[1]


def named(part: PartGraph) -> list[str]:
    return [piece.name for piece in pieces(part.onnx)]


def run(onnx: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = open_session(onnx)
    feeds = {value.name: inputs[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def saved(onnx: Path, piece: Piece, folder: Path) -> Path:
    for name in files.external_files(onnx):
        shutil.copy(onnx.parent / name, folder)
    target = folder / "piece.onnx"
    files.save(cut_piece(onnx, piece), target)
    return target


def test_layers_of_one_form_are_one_piece(part: PartGraph) -> None:
    layer, head = pieces(part.onnx)
    assert (layer.name, layer.enters) == ("hidden_0 to hidden_1", None)
    assert layer.outputs == ("hidden_1", "past_key_0_out", "past_value_0_out")
    assert (head.name, head.enters, head.outputs) == ("hidden_3 to logits", "hidden_3", ("logits",))


def test_the_embedding_and_a_part_without_inner_boundary_are_whole(tmp_path: Path) -> None:
    embedding, first, second, last = quantized(tmp_path, num_splits=4)
    assert (named(embedding), named(first), named(second)) == (["whole"], ["whole"], ["whole"])
    assert named(last) == ["hidden_2 to hidden_3", "hidden_3 to logits"]
    forms = [pieces(each.onnx)[0].form for each in (embedding, first, second, last)]
    assert forms[1] == forms[2] == forms[3] != forms[0]


def test_the_halves_of_a_layer_compute_what_it_computes(part: PartGraph, tmp_path: Path) -> None:
    layer, head = pieces(part.onnx)
    attention, mlp = layer.halves
    assert (attention.enters, attention.outputs[1:]) == (None, ("past_key_0_out", "past_value_0_out"))
    assert (attention.outputs[0], mlp.outputs) == (mlp.enters, ("hidden_1",))
    assert head.halves == ()
    inputs = stored_inputs(part.signature.inputs, {})
    for folder in ("layer", "attention", "mlp"):
        (tmp_path / folder).mkdir()
    wanted = run(saved(part.onnx, layer, tmp_path / "layer"), inputs)
    found = run(saved(part.onnx, attention, tmp_path / "attention"), inputs)
    found |= run(saved(part.onnx, mlp, tmp_path / "mlp"), found)
    for name, values in wanted.items():
        assert np.array_equal(found[name], values), name


def test_a_layer_whose_attention_and_mlp_read_the_same_is_one_piece(tmp_path: Path) -> None:
    layer, head = pieces(quantized(tmp_path, family="cohere")[1].onnx)
    assert (layer.name, layer.halves, head.halves) == ("hidden_0 to hidden_1", (), ())


def test_another_precision_of_an_mlp_is_another_form_of_that_half(tmp_path: Path) -> None:
    precisions = ModulePrecisions(custom={"model.layers.1.mlp.down_proj": 8})
    technique = TechniqueConfig(technique="minmax", weight_bitwidth=4, module_precisions=precisions)
    first, second, _ = pieces(quantized(tmp_path, technique=technique)[1].onnx)
    assert (first.name, second.name) == ("hidden_0 to hidden_1", "hidden_1 to hidden_2")
    assert first.halves[0].form == second.halves[0].form
    assert first.halves[1].form != second.halves[1].form


def test_another_precision_is_another_form(part: PartGraph, tmp_path: Path) -> None:
    (tmp_path / "four").mkdir()
    other = quantized(tmp_path / "four", technique=TechniqueConfig(technique="minmax", weight_bitwidth=4))[1]
    layer, head = pieces(other.onnx)
    assert layer.form != pieces(part.onnx)[0].form
    assert head.form == pieces(part.onnx)[1].form, "the head keeps 8 bits"


def test_pieces_one_after_another_give_what_the_part_gives(part: PartGraph, tmp_path: Path) -> None:
    inputs = stored_inputs(part.signature.inputs, {})
    expected = run(part.onnx, inputs)
    (all_of_it,) = whole(part.onnx)
    assert list(all_of_it.outputs) == [spec.name for spec in part.signature.outputs]
    layer, head = pieces(part.onnx)
    found = run(saved(part.onnx, layer, tmp_path), inputs)
    for name in layer.outputs[1:]:
        np.testing.assert_array_equal(found[name], expected[name])
    for index in (1, 2):
        outputs = (f"hidden_{index + 1}", f"past_key_{index}_out", f"past_value_{index}_out")
        inputs |= found
        found = run(saved(part.onnx, Piece("", "", f"hidden_{index}", outputs), tmp_path), inputs)
    logits = run(saved(part.onnx, head, tmp_path), found)["logits"]
    np.testing.assert_array_equal(logits, expected["logits"])
