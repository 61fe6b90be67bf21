"""A rotated model computes what the model computes, and has no spikes in its residual stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dense_rotation import dense
from tiny_models import IDS, TINY, tiny_model
from tiny_parameters import TOKENS, tiny_parameters

from qairt.errors import ModelError, QuantizationError
from qairt.model.describe import describe_model
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.reference import Reference
from qairt.model.rotation import Rotation
from qairt.model.weights import ALL
from qairt.quant.config import TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.quant.simulate import Simulated
from qairt.runtime.metrics import sqnr_db

BIASES = {"attention_bias": True, "mlp_bias": True}
FAMILIES = [("llama", {}), ("llama", BIASES), ("mistral", {}), ("phi3", {}), ("qwen2", {}), ("qwen3", {})]
FAMILIES.append(("lfm2", {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}))
every_family = pytest.mark.parametrize(
    ("family", "changes"), FAMILIES, ids=["llama", "llama-biases", "mistral", "phi3", "qwen2", "qwen3", "lfm2"]
)


STREAM, VALUES, BOTH = (True, False), (False, True), (True, True)
every_kind = pytest.mark.parametrize("kind", [STREAM, VALUES, BOTH], ids=["stream", "values", "both"])


def rotated(parameters: Parameters, kind: tuple[bool, bool] = BOTH, seed: int = 0) -> Parameters:
    rotation = Rotation.of(parameters.config, stream=kind[0], values=kind[1], seed=seed)
    return Parameters(parameters.source, parameters.config, rotation=rotation)


def worst(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@every_family
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@every_kind
def test_the_logits_stay(
    tmp_path: Path, family: str, changes: dict[str, bool], tied: bool, kind: tuple[bool, bool]
) -> None:
    parameters = tiny_parameters(tmp_path, family, tie_word_embeddings=tied, **changes)
    expected = Reference(parameters).logits(TOKENS[0]).numpy()
    assert worst(Reference(rotated(parameters, kind)).logits(TOKENS[0]).numpy(), expected) < 1e-5


def test_sizes_that_are_no_power_of_two(tmp_path: Path) -> None:
    """Hidden 60 is a Hadamard order, heads of 10 are none."""
    parameters = tiny_parameters(tmp_path, hidden_size=60, head_dim=10, num_attention_heads=6, num_key_value_heads=3)
    expected = Reference(parameters).logits(TOKENS[0]).numpy()
    assert worst(Reference(rotated(parameters)).logits(TOKENS[0]).numpy(), expected) < 1e-5


@every_family
def test_what_is_rotated_and_what_is_not(tmp_path: Path, family: str, changes: dict[str, bool]) -> None:
    parameters = tiny_parameters(tmp_path, family, tie_word_embeddings=True, **changes)
    stream, only_values = rotated(parameters, STREAM), rotated(parameters, VALUES)
    both = rotated(parameters)
    ones = {name for name in parameters.names() if name.endswith("layernorm.weight")} | {"model.norm.weight"}
    for name in parameters.names():
        plain, found = parameters.read(name), stream.read(name)
        assert found.flags.c_contiguous
        assert found.dtype == np.float32
        module = name.split(".", 3)[-1]
        writes = module.startswith(("self_attn.o_proj", "mlp.down_proj"))
        stays = module.startswith(("self_attn.q_norm", "self_attn.k_norm", "conv.tap_")) or (
            module.endswith(".bias") and not writes
        )
        if name in ones:
            assert (found == 1).all()
        else:
            assert np.array_equal(plain, found) == stays
        of_values = name.endswith("o_proj.weight") or "v_proj" in name
        assert np.array_equal(found, both.read(name)) != of_values
        assert np.array_equal(plain, only_values.read(name)) != of_values


def test_each_weight_by_the_formula(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, "llama", **BIASES)
    layer, turned, r = "model.layers.1.", rotated(parameters), rotated(parameters).rotation
    assert r is not None
    stream = dense(r.input_side("lm_head.weight"))
    value = dense(r.output_side(layer + "self_attn.v_proj.weight"))
    assert stream.shape == (64, 64)
    assert value.shape == (16, 16)
    values, heads = np.kron(np.eye(2), value), np.kron(np.eye(4), value)
    read = parameters.read
    gamma, after = (read(layer + name + "_layernorm.weight")[:, None] for name in ("input", "post_attention"))
    expected = {
        "model.embed_tokens.weight": read("model.embed_tokens.weight") @ stream,
        layer + "self_attn.q_proj.weight": stream.T @ (gamma * read(layer + "self_attn.q_proj.weight")),
        layer + "self_attn.v_proj.weight": stream.T @ (gamma * read(layer + "self_attn.v_proj.weight")) @ values,
        layer + "self_attn.v_proj.bias": read(layer + "self_attn.v_proj.bias") @ values,
        layer + "self_attn.o_proj.weight": heads.T @ read(layer + "self_attn.o_proj.weight") @ stream,
        layer + "self_attn.o_proj.bias": read(layer + "self_attn.o_proj.bias") @ stream,
        layer + "mlp.up_proj.weight": stream.T @ (after * read(layer + "mlp.up_proj.weight")),
        layer + "mlp.down_proj.weight": read(layer + "mlp.down_proj.weight") @ stream,
        "lm_head.weight": stream.T @ (read("model.norm.weight")[:, None] * read("lm_head.weight")),
    }
    for name, weight in expected.items():
        np.testing.assert_allclose(turned.read(name), weight, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_spike_in_the_residual_stream_is_spread(tmp_path: Path) -> None:
    def spiked(parameters: Parameters) -> dict[str, np.ndarray]:
        table = parameters.read("model.embed_tokens.weight").copy()
        table[:, 5] = 1000
        return {"model.embed_tokens.weight": table}

    parameters = tiny_parameters(tmp_path)
    model = tiny_model("llama")
    spike = spiked(parameters)["model.embed_tokens.weight"]
    model.model.embed_tokens.weight.data.copy_(model.model.embed_tokens.weight.data.new_tensor(spike))
    model.save_pretrained(tmp_path)
    plain = open_parameters(tmp_path, parameters.config)
    assert np.abs(Reference(plain).embed(TOKENS[0]).numpy()).max() == 1000
    assert np.abs(Reference(rotated(plain)).embed(TOKENS[0]).numpy()).max() < 130


def test_a_rotated_model_is_quantized_as_any_other(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, tie_word_embeddings=True)
    expected = Reference(parameters).logits(TOKENS[0]).numpy()
    turned = rotated(parameters)
    encodings = quantize_model(turned, TOKENS, TechniqueConfig(technique="minmax")).encodings
    norm = encodings.params["model.norm.weight"]
    np.testing.assert_allclose(norm.nearest(turned.read("model.norm.weight")), 1, rtol=1e-6)
    assert sqnr_db(expected, Simulated(turned, encodings).logits(TOKENS[0]).numpy()) > 20


class Counting:
    """A source that writes down what is read."""

    def __init__(self, parameters: Parameters) -> None:
        self._source = parameters.source
        self.names: list[str] = []

    def read(self, name: str, rows: slice = ALL) -> np.ndarray:
        self.names.append(name)
        return self._source.read(name, rows)

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)


def test_one_read_touches_one_weight_and_its_norm(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, tie_word_embeddings=True)
    source = Counting(parameters)
    turned = Parameters(source, parameters.config, rotation=Rotation.of(parameters.config, values=True))
    assert source.names == []
    touched: dict[str, list[str]] = {}
    for name in parameters.names():
        source.names.clear()
        turned.read(name)
        touched[name.removeprefix("model.layers.0.")] = list(source.names)
    assert touched["input_layernorm.weight"] == touched["model.norm.weight"] == []
    assert touched["model.embed_tokens.weight"] == ["model.embed_tokens.weight"]
    assert touched["self_attn.o_proj.weight"] == ["model.layers.0.self_attn.o_proj.weight"]
    assert touched["self_attn.q_proj.weight"] == [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.input_layernorm.weight",
    ]
    assert touched["mlp.up_proj.weight"] == [
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
    ]
    assert touched["lm_head.weight"] == ["model.embed_tokens.weight", "model.norm.weight"]


def test_a_seed_is_one_rotation(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    name = "model.layers.0.self_attn.v_proj.weight"
    first, again, other = (rotated(parameters, seed=seed).read(name) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_overlay_wins(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    name = "model.layers.0.self_attn.q_proj.weight"
    changed = np.ones(parameters.shape(name), np.float32)
    turned = Parameters(parameters.source, parameters.config, {name: changed}, Rotation.of(parameters.config))
    assert turned.read(name) is changed


def test_to_json_and_back() -> None:
    rotation = Rotation(hidden_size=576, head_dim=64, values=True, seed=7)
    assert Rotation.from_json(rotation.to_json()) == rotation


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"hidden_size": 0, "head_dim": 4}', "hidden_size: Input should be greater than 0"),
        ('{"hidden_size": 8, "head_dim": 4, "kind": "givens"}', "kind: Input should be 'hadamard'"),
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
    ],
)
def test_a_file_that_is_no_rotation_is_refused(text: str, fault: str) -> None:
    with pytest.raises(QuantizationError) as raised:
        Rotation.from_json(text, "cache/rotation.json")
    assert str(raised.value) == (
        f"cache/rotation.json: not a rotation: {fault}\n  clear the quantization stage and run again"
    )


def test_another_models_rotation_is_refused(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    with pytest.raises(QuantizationError) as raised:
        Parameters(parameters.source, parameters.config, rotation=Rotation(hidden_size=576, head_dim=64))
    assert str(raised.value) == (
        "rotation.json: the rotation is for a hidden size of 576 and heads of 64, the model has 64 and 16\n"
        "  quantize this model again: the rotation belongs to another"
    )


@pytest.mark.parametrize(
    "stored", ["model.layers.1.mlp.up_proj.weight", "model.layers.1.post_attention_layernorm.weight"]
)
def test_a_weight_that_is_no_number_is_named_before_it_spreads(tmp_path: Path, stored: str) -> None:
    model = tiny_model("llama")
    model.get_parameter(stored).data.flatten()[3:5] = float("inf")
    model.save_pretrained(tmp_path)
    turned = rotated(open_parameters(tmp_path, describe_model(tmp_path).config))
    with pytest.raises(ModelError, match=f"the weight {stored} holds 2 NaN or infinite values"):
        turned.read("model.layers.1.mlp.up_proj.weight")


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    config = parameters.config.model_copy(update={"hidden_size": 32})
    turned = Parameters(parameters.source, config, rotation=Rotation.of(config))
    with pytest.raises(ModelError, match=r"mlp\.up_proj\.weight has shape \[64, 96\], expected \[32, 96\]"):
        turned.read("model.layers.0.mlp.up_proj.weight")


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("gemma2", "norms after attention and MLP are not followed by a linear that could take their weights"),
        ("starcoder2", "LayerNorm subtracts a mean, which a rotation does not keep"),
    ],
)
def test_a_stream_that_cannot_be_rotated_is_refused(family: str, why: str, tmp_path: Path) -> None:
    config = tiny_parameters(tmp_path, family).config
    with pytest.raises(QuantizationError) as raised:
        Rotation.of(config).check(config)
    assert str(raised.value) == (
        f"R1: the residual stream of {family} models cannot be rotated: {why}\n"
        "  use a technique without the rotation R1"
    )
    Rotation.of(config, stream=False, values=True).check(config)


def test_multipliers_are_rotated_too(tmp_path: Path) -> None:
    family, changes = TINY["granite"]
    parameters = tiny_parameters(tmp_path, family, **changes)
    rotation = Rotation.of(parameters.config, values=True)
    rotated = Parameters(parameters.source, parameters.config, rotation=rotation)
    expected = Reference(parameters).logits(IDS).numpy()
    assert np.abs(Reference(rotated).logits(IDS).numpy() - expected).max() < 1e-4 * np.abs(expected).max()
