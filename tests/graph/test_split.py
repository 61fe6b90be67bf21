"""Parts run one after another give what the whole gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_graphs import bound, cut_parts, export_adapted, export_tiny, feeds, run, tiny_parts
from tiny_models import TINY

from qairt.errors import GraphError, RecipeError
from qairt.graph import files, split
from qairt.model.names import is_branch_input
from qairt.model.parts import plan_split


@pytest.mark.parametrize("num_splits", [1, 2, 3, 4])
@pytest.mark.parametrize("ar", [1, 8])
def test_parts_chained_equal_the_whole(tmp_path: Path, num_splits: int, ar: int):
    _, config, onnx = export_tiny(tmp_path, "llama", num_hidden_layers=3)
    whole = bound(onnx, ar)
    tensors = feeds(config, list(range(ar)))
    wanted = run(whole, tensors)
    found: dict[str, np.ndarray] = {}
    for path in cut_parts(whole, tiny_parts(config, num_splits)):
        found |= run(path, tensors | found)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


TWO_LAYERS = {"num_hidden_layers": 2}
SHORT = {**TWO_LAYERS, "layer_types": ["conv", "full_attention"]}


@pytest.mark.parametrize("family", ["llama", "gemma2", "lfm2", "mixtral"])
@pytest.mark.parametrize("num_splits", [4, 5])
def test_halves_of_layers_chained_equal_the_whole(tmp_path: Path, family: str, num_splits: int):
    kind, changes = TINY[family]
    _, config, onnx = export_tiny(tmp_path, kind, **{**changes, **(SHORT if kind == "lfm2" else TWO_LAYERS)})
    whole = bound(onnx, 8)
    random = np.random.default_rng(0)
    shapes = {str(value.name): value.shape.numpy() for value in files.load(whole).graph.inputs if value.shape}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    tensors["input_ids"] = np.arange(8, dtype=np.int32)[None]
    wanted = run(whole, tensors)
    found: dict[str, np.ndarray] = {}
    for part, path in zip(parts := tiny_parts(config, num_splits), cut_parts(whole, parts), strict=True):
        graph = files.load(path).graph
        assert part.has_embedding or graph.inputs[0].name == part.enters
        assert part.has_head or graph.outputs[0].name == part.leaves
        found |= run(path, tensors | found)
    assert any(part.halved for part in parts)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(("num_splits", "model_layers"), [(3, 3), (4, 2)], ids=["layers", "halves"])
@pytest.mark.parametrize("hot_switch", [False, True])
def test_each_branch_goes_with_its_part(tmp_path: Path, hot_switch: bool, num_splits: int, model_layers: int):
    parameters, shape, values, onnx = export_adapted(
        tmp_path, "llama", hot_switch=hot_switch, num_hidden_layers=model_layers
    )
    whole = bound(onnx, 8)
    tensors = feeds(parameters.config, list(range(8))) | values
    wanted = run(whole, tensors)
    found: dict[str, np.ndarray] = {}
    placed: list[str] = []
    for part, path in zip(parts := tiny_parts(parameters.config, num_splits), cut_parts(whole, parts), strict=True):
        found |= run(path, tensors | found)
        graph = files.load(path).graph
        own = [value.name for value in graph.inputs if is_branch_input(value.name)]
        constants = [name for name in graph.initializers if is_branch_input(name)]
        layers = {*range(part.first_layer, part.last_layer), *part.attentions}
        if hot_switch:
            assert own == ["lora_alpha"] * bool(layers)
        assert {int(name.split("_")[1]) for name in (constants if hot_switch else own)} == layers
        placed += constants if hot_switch else own
    inputs, weights = shape.input_shapes(parameters.config), shape.constant_shapes(parameters.config)
    assert sorted(placed) == sorted(weights or inputs)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_part_one_is_the_embedding_and_inputs_stand_in_order(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    first, second, third = (files.load(path) for path in cut_parts(bound(onnx, 4), tiny_parts(config, 3)))
    assert [node.op_type for node in first.graph] == ["Gather"]
    assert [value.name for value in first.graph.outputs] == ["hidden_0"]
    assert [value.name for value in second.graph.inputs] == [
        "hidden_0", "attention_mask", "position_ids_cos", "position_ids_sin", "past_key_0_in", "past_value_0_in",
    ]  # fmt: skip
    assert [value.name for value in second.graph.outputs] == ["hidden_1", "past_key_0_out", "past_value_0_out"]
    assert [value.name for value in third.graph.outputs] == ["logits", "past_key_1_out", "past_value_1_out"]
    assert second.graph.name == "ar4-cl32_2_of_3"
    assert not any(name.startswith("model.layers.1") for name in second.graph.initializers)


def test_parts_are_balanced_by_bytes_with_the_head_counted():
    parts = plan_split(embedding_bytes=100, layer_bytes=[10] * 30, head_bytes=80, num_splits=4)
    assert [(part.first_layer, part.last_layer) for part in parts] == [(0, 0), (0, 12), (12, 25), (25, 30)]
    assert max(part.weight_bytes for part in parts[1:]) == 130
    uneven = plan_split(embedding_bytes=1, layer_bytes=[5, 1, 1, 1, 1, 1], head_bytes=0, num_splits=3)
    assert [part.last_layer for part in uneven] == [0, 1, 6]


def test_the_head_alone_is_the_last_part():
    parts = plan_split(embedding_bytes=100, layer_bytes=[10] * 30, head_bytes=80, num_splits=5, split_lm_head=True)
    assert [(part.first_layer, part.last_layer) for part in parts] == [(0, 0), (0, 10), (10, 20), (20, 30), (30, 30)]
    assert [part.has_head for part in parts] == [False] * 4 + [True]
    assert (parts[-1].weight_bytes, parts[-1].describe()) == (80, "lm_head, 0 MiB float")
    assert [part.is_embedding for part in parts] == [True] + [False] * 4


def test_more_parts_than_layers_halve_them_and_balance_the_halves():
    sizes = {"embedding_bytes": 100, "layer_bytes": [10] * 3, "head_bytes": 8, "mlp_bytes": [7] * 3}
    parts = plan_split(**sizes, num_splits=5)
    assert [(part.weight_bytes, part.describe().partition(",")[0]) for part in parts] == [
        (100, "embedding"),
        (3, "attention of layer 0"),
        (10, "MLP of layer 0 + attention of layer 1"),
        (10, "MLP of layer 1 + attention of layer 2"),
        (15, "MLP of layer 2 + lm_head"),
    ]
    all_halves = plan_split(**sizes, num_splits=8, split_lm_head=True)
    assert [part.weight_bytes for part in all_halves] == [100, 3, 7, 3, 7, 3, 7, 8]
    assert [part.enters for part in all_halves[1:4]] == ["hidden_0", "attended_0", "hidden_1"]
    assert [list(part.attentions) for part in all_halves] == [[], [0], [], [1], [], [2], [], []]
    assert [part.layers for part in all_halves] == [0, *[0.5] * 6, 0]
    assert [part.is_embedding for part in all_halves] == [True] + [False] * 7
    with pytest.raises(RecipeError, match="share 3 layers, each in two halves\n  use at most 8"):
        plan_split(**sizes, num_splits=9, split_lm_head=True)


def test_a_part_of_whole_layers_is_keyed_as_before_there_were_halves():
    part = plan_split(embedding_bytes=1, layer_bytes=[1], head_bytes=1, num_splits=2)[1]
    assert sorted(part.model_dump(mode="json")) == [
        "first_layer", "has_embedding", "has_head", "index", "last_layer", "of", "weight_bytes",
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("splits", [2, 3, 8])
def test_every_layer_is_in_one_part(layers: int, splits: int):
    if splits - 1 > layers:
        message = f"num_splits {splits} is too large: .* share {layers} layers\n  use at most {layers + 1}"
        with pytest.raises(RecipeError, match=message):
            plan_split(embedding_bytes=1, layer_bytes=[1] * layers, head_bytes=1, num_splits=splits)
        return
    parts = plan_split(embedding_bytes=1, layer_bytes=[1] * layers, head_bytes=1, num_splits=splits)
    assert [layer for part in parts for layer in range(part.first_layer, part.last_layer)] == list(range(layers))


def test_a_missing_cut_is_named(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    model = files.load(bound(onnx, 4))
    part = tiny_parts(config, 3)[1].model_copy(update={"last_layer": 9})
    with pytest.raises(GraphError, match="the graph has no tensor hidden_9, where the part starts or ends"):
        split.cut(model, part, name="x")
