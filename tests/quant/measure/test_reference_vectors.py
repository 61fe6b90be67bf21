from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_graphs import tiny_parts
from tiny_parameters import TOKENS, tiny_parameters

from qairt.errors import QuantizationError
from qairt.model.parameters import Parameters
from qairt.model.parts import Part
from qairt.model.reference import Reference
from qairt.quant.config import TechniqueConfig
from qairt.quant.measure.reference_vectors import Array, ReferenceVectors, expected_outputs, part_inputs
from qairt.quant.quantize_model import quantize_model

FLOOR = -1000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Parameters, ReferenceVectors, Path]:
    directory = tmp_path_factory.mktemp("llama")
    parameters = tiny_parameters(directory)
    vectors = quantize_model(parameters, TOKENS, TechniqueConfig(technique="minmax")).reference
    vectors.save(directory / "reference.safetensors")
    return parameters, ReferenceVectors.load(directory / "reference.safetensors"), directory


def run(parameters: Parameters, part: Part, inputs: dict[str, Array]) -> dict[str, Array]:
    """A part on the float reference, inputs as they are: padding, mask and all."""
    reference = Reference(parameters)
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    hidden = reference.embed(inputs["input_ids"][0]) if part.has_embedding else given[f"hidden_{part.first_layer}"]
    outputs: dict[str, Array] = {}
    for layer in range(part.first_layer, part.last_layer):
        positions = {name: given[name] for name in ("attention_mask", "position_ids_cos", "position_ids_sin")}
        past = given[f"past_key_{layer}_in"], given[f"past_value_{layer}_in"]
        hidden, (key, value) = reference.run_block(layer, hidden, positions, past)
        outputs |= {f"past_key_{layer}_out": key.numpy(), f"past_value_{layer}_out": value.numpy()}
    if part.has_head:
        return outputs | {"logits": reference.head(hidden).numpy()}
    return outputs | {f"hidden_{part.last_layer}": hidden.numpy()}


def last(found: Array, wanted: Array) -> Array:
    """The last positions of `found`, as many as `wanted` has."""
    return found[tuple(slice(have - want, None) for have, want in zip(found.shape, wanted.shape, strict=True))]


@pytest.mark.parametrize(
    ("ar", "cl"),
    [(1, 32), (8, 32), (24, 32), (1, 24), (8, 16), (28, 64)],
    ids=["decode", "prefill", "all-new", "full-cache", "short-context", "ar-beyond-text"],
)
@pytest.mark.parametrize("splits", [1, 2, 3])
def test_a_part_gives_the_expected_outputs_on_its_inputs(
    made: tuple[Parameters, ReferenceVectors, Path], ar: int, cl: int, splits: int
) -> None:
    parameters, vectors, _ = made
    for part in tiny_parts(parameters.config, splits):
        inputs = part_inputs(vectors, parameters.config, part, ar=ar, cl=cl, mask_floor=FLOOR)
        found = run(parameters, part, inputs)
        wanted = expected_outputs(vectors, parameters.config, part, ar=ar, cl=cl)
        assert wanted
        assert set(wanted) | {"logits"} == set(found) | {"logits"}
        for name, value in wanted.items():
            np.testing.assert_allclose(last(found[name], value), value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_shapes_and_padding_of_inputs(made: tuple[Parameters, ReferenceVectors, Path]) -> None:
    parameters, vectors, _ = made
    part = tiny_parts(parameters.config, 2)[1]
    inputs = part_inputs(vectors, parameters.config, part, ar=8, cl=32, mask_floor=-50.0)
    assert {name: value.shape for name, value in inputs.items()} == {
        "hidden_0": (1, 8, 64),
        "attention_mask": (1, 1, 8, 32),
        "position_ids_cos": (1, 1, 8, 8),
        "position_ids_sin": (1, 1, 8, 8),
        **{f"past_key_{layer}_in": (2, 1, 16, 24) for layer in range(2)},
        **{f"past_value_{layer}_in": (2, 1, 24, 16) for layer in range(2)},
    }
    # 16 tokens of past in 24 slots, on the right.
    assert not inputs["past_key_0_in"][..., :8].any()
    assert inputs["past_key_0_in"][..., 8:].all()
    mask = inputs["attention_mask"][0, 0]
    assert (mask[:, :8] == -50).all()
    assert (mask[:, 8:24] == 0).all()
    assert np.array_equal(mask[:, 24:] == 0, np.tri(8, dtype=bool))


def test_the_embedding_takes_ids_alone(made: tuple[Parameters, ReferenceVectors, Path]) -> None:
    parameters, vectors, _ = made
    part = tiny_parts(parameters.config, 2)[0]
    inputs = part_inputs(vectors, parameters.config, part, ar=8, cl=32, mask_floor=-50.0)
    assert list(inputs) == ["input_ids"]
    assert inputs["input_ids"].dtype == np.int32
    assert inputs["input_ids"].tolist() == [TOKENS[0][16:].tolist()]


def test_the_same_values_give_the_same_file(made: tuple[Parameters, ReferenceVectors, Path]) -> None:
    _, vectors, directory = made
    ReferenceVectors({name: vectors.tensors[name] for name in reversed(list(vectors.tensors))}).save(
        directory / "again"
    )
    assert (directory / "again").read_bytes() == (directory / "reference.safetensors").read_bytes()
    assert not list(directory.glob("*.partial"))


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    path.write_bytes(b"\x08")
    with pytest.raises(QuantizationError) as error:
        ReferenceVectors.load(path)
    assert (error.value.where, error.value.remedy) == (str(path), "run quantization again")
