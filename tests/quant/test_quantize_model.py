from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tiny_graphs import export_tiny
from tiny_parameters import TOKENS, tiny_parameters
from torch import Tensor

from qairt.errors import ModelError, QuantizationError
from qairt.graph import files
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.reference import Reference, sequence_positions
from qairt.quant.activations import ActivationSettings
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.encodings_json import write_encodings
from qairt.quant.execution import Execution
from qairt.quant.quantize_model import QuantizationResult, quantize_model

MINMAX = TechniqueConfig(technique="minmax")
LPBQ = TechniqueConfig(technique="lpbq", block_size=32)
FAMILIES = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("mistral", {}),
    ("phi3", {}),
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Parameters, QuantizationResult]:
    parameters = tiny_parameters(tmp_path_factory.mktemp("llama"))
    return parameters, quantize_model(parameters, TOKENS, LPBQ)


@pytest.mark.parametrize("technique", [MINMAX, LPBQ], ids=["minmax", "lpbq"])
@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_every_tensor_of_the_graph_has_an_encoding_and_nothing_else(
    tmp_path: Path, family: str, changes: dict[str, bool], technique: TechniqueConfig
) -> None:
    _, config, onnx = export_tiny(tmp_path, family, **changes)
    encodings = quantize_model(open_parameters(tmp_path / "hf", config), TOKENS, technique).encodings
    graph = files.load(onnx).graph
    is_float = ir.DataType.FLOAT
    tensors = {value.name for value in graph.inputs if value.dtype == is_float}
    tensors |= {value.name for node in graph for value in node.outputs}
    weights = {name: value for name, value in graph.initializers.items() if value.dtype == is_float}
    assert set(encodings.activations) == tensors
    assert set(encodings.params) == set(weights)
    for name, value in weights.items():
        assert value.shape is not None
        encodings.params[name].check_shape(tuple(value.shape.numpy()))
    for encoding in (*encodings.activations.values(), *encodings.params.values()):
        assert ((encoding.scale > 1e-10) & (encoding.scale < 1e10)).all()


def test_weights_are_encoded_by_what_they_are(llama: tuple[Parameters, QuantizationResult]) -> None:
    params = llama[1].encodings.params

    def kind(name: str) -> tuple[int, bool, int | None, bool]:
        encoding = params[name]
        return encoding.bitwidth, encoding.symmetric, encoding.axis, encoding.blocks is not None

    assert kind("model.embed_tokens.weight") == (8, True, None, False)
    assert kind("lm_head.weight") == (8, True, 1, False)
    assert kind("model.norm.weight") == (16, False, None, False)
    assert kind("model.layers.1.input_layernorm.weight") == (16, False, None, False)
    for linear in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"):
        assert kind(f"model.layers.1.{linear}.weight") == (4, True, 1, True)


def test_biases_and_head_norms(tmp_path: Path) -> None:
    qwen2 = quantize_model(tiny_parameters(tmp_path / "2", "qwen2"), TOKENS, MINMAX).encodings.params
    assert qwen2["model.layers.0.self_attn.k_proj.bias"].bitwidth == 32
    qwen3 = quantize_model(tiny_parameters(tmp_path / "3", "qwen3"), TOKENS, MINMAX).encodings.params
    assert qwen3["model.layers.0.self_attn.q_norm.weight"].bitwidth == 16


def test_precisions_of_modules(tmp_path: Path) -> None:
    technique = TechniqueConfig.model_validate(
        {"technique": "minmax", "module_precisions": {"embedding": 16, "rms_norm": 8}}
    )
    params = quantize_model(tiny_parameters(tmp_path), TOKENS, technique).encodings.params
    assert params["model.embed_tokens.weight"].bitwidth == 16
    assert params["model.norm.weight"].bitwidth == 8


def limits(encoding: Encoding) -> tuple[float, float]:
    return float(encoding.minimum[0]), float(encoding.maximum[0])


def test_ranges_hold_what_was_seen(llama: tuple[Parameters, QuantizationResult]) -> None:
    parameters, result = llama
    seen: dict[str, tuple[float, float]] = {}
    reference = Reference(parameters)

    def tap(name: str, value: Tensor) -> None:
        seen[name] = float(value.min()), float(value.max())

    positions = sequence_positions(reference.config, 24, floors={"attention_mask": -50.0})
    hidden = reference.embed(TOKENS[1])
    for layer in range(2):
        hidden, _ = reference.run_block(layer, hidden, positions, reference.empty_past(layer), tap=tap)
    assert len(seen) > 80
    for name, (low, high) in seen.items():
        encoding = result.encodings.activations[name]
        slack = float(encoding.scale[0])
        assert limits(encoding)[0] <= low + slack, name
        assert limits(encoding)[1] >= high - slack, name


def test_fixed_ranges(llama: tuple[Parameters, QuantizationResult]) -> None:
    activations = llama[1].encodings.activations
    for name in ("layers.0.attn.probs", "layers.1.mlp.sigmoid"):
        assert limits(activations[name]) == (0.0, 1.0)
    for name in ("position_ids_cos", "position_ids_sin"):
        np.testing.assert_allclose(limits(activations[name]), (-1.0, 1.0), rtol=1e-4)
    np.testing.assert_allclose(limits(activations["attention_mask"]), (-50.0, 0.0), rtol=1e-6)


def test_the_embedding_is_exact_on_the_grid_of_what_leaves_it(llama: tuple[Parameters, QuantizationResult]) -> None:
    encodings = llama[1].encodings
    table, out = encodings.params["model.embed_tokens.weight"], encodings.activations["hidden_0"]
    values = table.dequantize(np.arange(256))
    np.testing.assert_allclose(out.nearest(values), values, rtol=1e-5)
    assert np.array_equal(np.diff(out.quantize(values)), np.full(255, 257))


def test_the_mask_does_not_ruin_the_scores(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    for floor in (-50.0, -4000.0):
        activations = quantize_model(
            parameters, TOKENS, MINMAX, activations=ActivationSettings(mask_floor=floor)
        ).encodings.activations
        low, high = limits(activations["layers.0.attn.scores"])
        assert -49 < low < high < 49
        masked = activations["layers.0.attn.masked"]
        np.testing.assert_allclose(limits(masked), (low + floor, high), atol=2 * float(masked.scale[0]))
        np.testing.assert_allclose(limits(activations["attention_mask"])[0], floor, rtol=1e-6)


def test_keys_and_values_are_symmetric_8_bit_and_one_grid_a_layer(
    llama: tuple[Parameters, QuantizationResult],
) -> None:
    activations = llama[1].encodings.activations
    for layer in range(2):
        for kind in ("key", "value"):
            first = activations[f"past_{kind}_{layer}_in"]
            assert (first.bitwidth, first.symmetric, first.offset.tolist()) == (8, True, [-128])
            for other in (f"past_{kind}_{layer}_out", f"layers.{layer}.attn.{kind}s"):
                assert activations[other].same_grid(first)
    assert not activations["past_key_0_in"].same_grid(activations["past_key_1_in"])


def test_bitwidths_of_activations_and_cache(tmp_path: Path) -> None:
    settings = ActivationSettings(act_bitwidth=8, kv_bitwidth=16)
    encodings = quantize_model(tiny_parameters(tmp_path), TOKENS, MINMAX, activations=settings).encodings
    assert encodings.activations["hidden_1"].bitwidth == 8
    assert encodings.activations["past_key_0_in"].bitwidth == 16
    assert encodings.activations["past_key_0_in"].offset.tolist() == [-32768]


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    one, three = (quantize_model(parameters, TOKENS, LPBQ, execution=Execution(threads=threads)) for threads in (1, 3))
    assert write_encodings(one.encodings) == write_encodings(three.encodings)
    one.reference.save(tmp_path / "one")
    three.reference.save(tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "three").read_bytes()


def test_progress_grows_and_ends(tmp_path: Path) -> None:
    said: list[tuple[float, str]] = []
    execution = Execution(progress=lambda *report: said.append(report))
    quantize_model(tiny_parameters(tmp_path), TOKENS, MINMAX, execution=execution)
    assert [message for _, message in said] == ["embedding", "layer 1 of 2", "layer 2 of 2", "lm_head", "done"]
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


# Bad models and settings


def scaled(name: str, factor: float) -> object:
    def change(parameters: Parameters) -> Mapping[str, np.ndarray]:
        return {name: parameters.read(name) * np.float32(factor)}

    return change


def test_values_beyond_float32_name_the_tensor(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, change=scaled("model.layers.1.mlp.up_proj.weight", 1e38))  # type: ignore[arg-type]
    with pytest.raises(QuantizationError) as error:
        quantize_model(parameters, TOKENS, MINMAX)
    assert str(error.value).startswith("layers.1.mlp.up: the model computes infinity in decoder layer 1\n")


def test_nan_weights_are_the_models_fault(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, change=scaled("model.layers.0.self_attn.v_proj.weight", float("nan")))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"model\.layers\.0\.self_attn\.v_proj\.weight holds"):
        quantize_model(parameters, TOKENS, MINMAX)


def test_dead_channels_are_reported(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"

    def change(parameters: Parameters) -> Mapping[str, np.ndarray]:
        weight = parameters.read(name).copy()
        weight[:, [1, 5, 8]] = 0
        return {name: weight}

    said: list[str] = []
    execution = Execution(progress=lambda _, message: said.append(message))
    result = quantize_model(tiny_parameters(tmp_path, change=change), TOKENS, LPBQ, execution=execution)
    note = f"{name}: 3 of 96 channels are dead (all weights zero)"
    assert result.notes == (note,)
    assert note in said


def test_a_block_size_that_does_not_fit_stops_before_work(tmp_path: Path) -> None:
    said: list[str] = []
    execution = Execution(progress=lambda _, message: said.append(message))
    with pytest.raises(QuantizationError, match="does not divide its input width 96"):
        quantize_model(tiny_parameters(tmp_path), TOKENS, TechniqueConfig(technique="lpbq"), execution=execution)
    assert said == []


def test_biases_and_constants_are_not_called_dead(tmp_path: Path) -> None:
    """Their grids of 32 bits are finer than any other."""
    for family in ("qwen2", "gemma2"):
        parameters = tiny_parameters(tmp_path / family, family)
        result = quantize_model(parameters, TOKENS, TechniqueConfig(technique="minmax"))
        assert not any("dead" in note for note in result.notes), result.notes
