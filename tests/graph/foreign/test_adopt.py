"""A graph exported with fixed sizes: adopted, so that later stages cannot tell it from our own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_graphs import adopted, constant, first, node, somebody_elses
from tiny_graphs import bound, cut_parts, export_tiny, feeds, run, tiny_parts

from qairt.errors import GraphError, QuantizationError
from qairt.graph import files
from qairt.graph.bind import bind
from qairt.graph.foreign.adopt import layer_sizes
from qairt.graph.foreign.bind import bind_foreign
from qairt.model import decoder
from qairt.model.config import DecoderConfig
from qairt.model.names import present_names
from qairt.model.parameters import open_parameters


def encoded_tensors(path: Path) -> set[str]:
    return {entry["name"] for entry in json.loads(path.read_text())["activation_encodings"]}


def test_the_residual_stream_gets_our_names_and_its_encodings_follow(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    onnx = adopted(tmp_path, theirs, encodings)
    names = {value.name for node in files.load(onnx).graph for value in node.outputs}
    assert {"hidden_0", "hidden_1", "hidden_2"} <= names
    assert encoded_tensors(onnx.with_name("model.encodings")) == names


def test_a_tensor_that_has_the_name_of_a_hidden_state_makes_way(tmp_path: Path):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    taken = next(n for n in model.graph if n.name == "Add:layers.0.attn.residual").outputs[0]
    text = encodings.read_text()
    encodings.write_text(text.replace(f'"{taken.name}"', '"hidden_1"'))
    taken.name = "hidden_1"
    files.save(model, theirs)
    onnx = adopted(tmp_path, theirs, encodings)
    names = {value.name for node in files.load(onnx).graph for value in node.outputs}
    assert {"hidden_0", "hidden_1", "hidden_1.1", "hidden_2"} <= names
    assert encoded_tensors(onnx.with_name("model.encodings")) == names
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=4, cl=16), path)
    tensors = feeds(config, [1, 2, 3, 4], cl=16)
    np.testing.assert_allclose(run(path, tensors)["logits"], run(bound(ours, 4, 16), tensors)["logits"], atol=1e-6)


def test_sizes_are_measured_without_reading_weights(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    embedding, layers, head = layer_sizes(theirs)
    per_layer = 4 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96 + 2 * 64)
    assert (embedding, layers, head) == (4 * 128 * 64, (per_layer, per_layer), 4 * (128 * 64 + 64))


def test_a_graph_with_our_named_dimensions_is_adopted_too(tmp_path: Path):
    config, ours, _, encodings = somebody_elses(tmp_path)
    onnx = adopted(tmp_path, ours, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind(files.load(onnx), ar=4, cl=16), path)
    tensors = feeds(config, [1, 2, 3, 4], cl=16)
    np.testing.assert_array_equal(run(path, tensors)["logits"], run(bound(ours, 4, 16), tensors)["logits"])


def test_products_with_cosine_and_sine_have_them_first(tmp_path: Path):
    """The other order is miscompiled behind a norm: see `qairt.model.layers.rotary`."""
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    swapped = 0
    for each in model.graph:
        one, other = (*each.inputs, None)[:2]
        if each.op_type == "Mul" and one.is_graph_input():
            each.replace_input_with(0, other)
            each.replace_input_with(1, one)
            swapped += 1
    assert swapped == 16
    files.save(model, theirs)
    products = [each for each in files.load(adopted(tmp_path, theirs, encodings)).graph if each.op_type == "Mul"]
    assert sum(each.inputs[0].is_graph_input() for each in products) == 16
    assert not any(each.inputs[1].is_graph_input() for each in products)


def test_weights_are_copied_page_aligned_and_nothing_else_is(tmp_path: Path):
    _, ours, theirs, encodings = somebody_elses(tmp_path)
    onnx = adopted(tmp_path, theirs, encodings)
    assert files.external_files(onnx) == {"weights.bin"}
    assert onnx.with_name("weights.bin").read_bytes() == ours.with_name("weights.bin").read_bytes()
    assert onnx.stat().st_size < 40_000


@pytest.mark.parametrize(
    ("is_sym", "offsets", "odd"),
    [(True, [0] * 64, 0), (False, [-128] * 63 + [-7], -7), (False, [-3] * 64, -3)],
    ids=["unsigned", "one channel", "every channel"],
)
def test_channels_that_are_not_signed_are_refused_for_the_npu(
    tmp_path: Path, is_sym: bool, offsets: list[int], odd: int
):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    weight = next(n for n in files.load(theirs).graph if n.name == "MatMul:layers.1.attn.q").inputs[1]
    content = json.loads(encodings.read_text())
    entry = {"name": weight.name, "bw": 8, "dtype": "INT", "enc_type": "PER_CHANNEL", "is_sym": is_sym}
    content["param_encodings"] = [entry | {"scale": [0.01] * 64, "offset": offsets}]
    encodings.write_text(json.dumps(content))
    with pytest.raises(QuantizationError) as caught:
        adopted(tmp_path, theirs, encodings)
    assert str(caught.value) == (
        f"weight {weight.name}: one of its channels has offset {odd}: the NPU takes a scale per channel only with "
        "offset -128\n  quantize it symmetrically and signed, or with one scale and offset for the whole weight"
    )


def test_a_decoder_without_its_residual_adds_is_refused(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    residual = next(n for n in model.graph if n.name == "Add:hidden_2")
    residual.op_type = "Mul"
    files.save(model, theirs)
    with pytest.raises(GraphError) as caught:
        adopted(tmp_path, theirs, encodings)
    assert str(caught.value) == (
        "node Gather:hidden_0: 3 residual Adds follow the embedding, but each decoder layer has two\n"
        "  export the decoder with a residual Add after attention and after the MLP of each layer"
    )


def test_a_missing_cache_output_is_named(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    model.graph.outputs[3].name = "keys.1"
    files.save(model, theirs)
    with pytest.raises(
        GraphError, match="it has 2 layers but no input or output past_key_1_out\n  name the outputs logits, "
    ):
        adopted(tmp_path, theirs, encodings)


def test_a_norm_made_of_single_steps_is_bound_and_split(tmp_path: Path):
    """RMSNorm as exporters older than opset 23 write it."""
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    two, axis = constant(model, 2.0, "two"), constant(model, [-1], "axis")
    for norm in [found for found in model.graph if found.op_type == "RMSNormalization"]:
        x, weight = norm.inputs
        out = str(norm.outputs[0].name)
        epsilon = constant(model, norm.attributes["epsilon"].as_float(), f"{out}.epsilon")
        mean = node(
            model,
            norm,
            "ReduceMean",
            [node(model, norm, "Pow", [x, two], f"{out}.square"), axis],
            f"{out}.mean",
            keepdims=1,
        )
        root = node(model, norm, "Sqrt", [node(model, norm, "Add", [mean, epsilon], f"{out}.sum")], f"{out}.root")
        inverse = node(model, norm, "Reciprocal", [root], f"{out}.inverse")
        scaled = node(model, norm, "Mul", [x, inverse], f"{out}.scaled")
        norm.outputs[0].name = f"{out}.old"
        norm.outputs[0].replace_all_uses_with(node(model, norm, "Mul", [scaled, weight], out))
        model.graph.remove(norm, safe=True)
    files.save(model, theirs)
    onnx = adopted(tmp_path, theirs, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=3, cl=16), path)
    tensors = feeds(config, [1, 2, 3], cl=16)
    np.testing.assert_allclose(run(path, tensors)["logits"], run(bound(ours, 3, 16), tensors)["logits"], atol=1e-5)
    assert layer_sizes(theirs)[1] == (layer_sizes(theirs)[1][0],) * 2


def test_the_same_export_is_adopted_to_the_same_bytes(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        adopted(folder, theirs, encodings)
    for name in ("model.onnx", "weights.bin", "model.encodings"):
        one, two = (folder / "adopted" / name for folder in folders)
        assert one.read_bytes() == two.read_bytes()


def test_an_embedding_that_is_missing_is_said(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    first(model, "Gather").replace_input_with(1, constant(model, [[1, 2, 3, 4, 5, 6]], "baked_ids"))
    files.save(model, theirs)
    with pytest.raises(GraphError, match="no Gather reads input_ids\n  export the decoder with its embedding"):
        adopted(tmp_path, theirs, encodings)


@pytest.mark.filterwarnings("ignore")  # the exporter's own, about its age
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_what_torch_exports_is_adopted_bound_and_split(tmp_path: Path, family: str):
    _, config, ours = export_tiny(tmp_path, family)
    theirs = traced(tmp_path, config)
    encodings = theirs.with_suffix(".encodings")
    encodings.write_text(json.dumps({"version": "1.0.0", "activation_encodings": [], "param_encodings": []}))
    onnx = adopted(tmp_path, theirs, encodings)
    for ar, cl in ((1, 16), (8, 32)):
        path = onnx.with_name(f"ar{ar}.onnx")
        files.save(bind_foreign(files.load(onnx), ar=ar, cl=cl), path)
        tensors = feeds(config, list(range(ar)), cl=cl)
        whole, wanted = run(path, tensors), run(bound(ours, ar, cl), tensors)
        found: dict[str, np.ndarray] = {}
        for part in cut_parts(path, tiny_parts(config, 3)):
            found |= run(part, tensors | found)
        for name, value in wanted.items():
            np.testing.assert_allclose(whole[name], value, atol=1e-4)
            np.testing.assert_array_equal(found[name], whole[name])


def traced(tmp_path: Path, config: DecoderConfig, ar: int = 6, cl: int = 40) -> Path:
    """The decoder as torch's exporter writes it: constants as nodes, norms in single steps, sizes as numbers."""
    import onnx
    import torch

    from qairt.model.torch_ops import TorchOps

    ops = TorchOps(open_parameters(tmp_path / "hf", config))
    layers = range(config.num_layers)

    class Decoder(torch.nn.Module):
        def forward(self, ids, mask, cos, sin, *past):
            hidden, present = decoder.embed(ops, ids), []
            positions = {"attention_mask": mask, "position_ids_cos": cos, "position_ids_sin": sin}
            for layer in layers:
                cache = past[2 * layer : 2 * layer + 2]
                hidden, (key, value) = decoder.block(ops, config, layer, hidden, positions, cache)
                present += [key, value]
            return (decoder.head(ops, config, hidden), *present)

    tensors = feeds(config, list(range(ar)), cl=cl)
    path = tmp_path / "traced.onnx"
    torch.onnx.export(
        Decoder(),
        tuple(torch.from_numpy(value) for value in tensors.values()),
        path,
        input_names=list(tensors),
        output_names=["logits", *(name for layer in layers for name in present_names(layer))],
        opset_version=20,  # its newest
        dynamo=False,
    )
    onnx.save(onnx.version_converter.convert_version(onnx.load(path), 21), path)
    return path
