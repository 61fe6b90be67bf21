"""What exporters write differently comes out the same, and what no later stage could take is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from foreign_graphs import adopted, first, somebody_elses
from tiny_graphs import bound, feeds, run

from qairt.errors import GraphError
from qairt.graph import files
from qairt.graph.foreign.bind import bind_foreign
from qairt.graph.foreign.read import read_foreign


def refused(theirs: Path) -> str:
    with pytest.raises(GraphError) as caught:
        read_foreign(theirs)
    return str(caught.value)


def assert_computes_the_same(tmp_path: Path, config, ours: Path, theirs: Path, encodings: Path) -> None:
    onnx = adopted(tmp_path, theirs, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=3, cl=16), path)
    tensors = feeds(config, [5, 6, 7], cl=16)
    np.testing.assert_allclose(run(path, tensors)["logits"], run(bound(ours, 3, 16), tensors)["logits"], atol=1e-6)


@pytest.mark.parametrize("attribute", ["value", "value_ints"])
def test_constants_written_as_nodes(tmp_path: Path, attribute: str):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    for found in [found for found in model.graph if found.op_type == "Reshape"]:
        tensor = found.inputs[1].const_value
        given = ir.tensor(tensor.numpy()) if attribute == "value" else [int(number) for number in tensor.numpy()]
        made = ir.node("Constant", [], attributes={attribute: given})
        made.outputs[0].name = f"{found.outputs[0].name}_constant"
        made.outputs[0].dtype = ir.DataType.INT64
        model.graph.insert_before(found, made)
        found.replace_input_with(1, made.outputs[0])
    files.save(model, theirs)
    assert not [found for found in read_foreign(theirs).graph if found.op_type == "Constant"]
    assert_computes_the_same(tmp_path, config, ours, theirs, encodings)


def test_integers_stored_in_the_weights_file(tmp_path: Path):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    packed = theirs.with_name("packed.onnx")
    onnx.save_model(onnx.load(theirs), packed, save_as_external_data=True, location="packed.data", size_threshold=0)
    theirs.with_name("weights.bin").unlink()
    assert_computes_the_same(tmp_path, config, ours, packed, encodings)


def test_weights_stored_in_the_graph(tmp_path: Path):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    onnx.save_model(onnx.load(theirs), theirs)
    theirs.with_name("weights.bin").unlink()
    assert_computes_the_same(tmp_path, config, ours, theirs, encodings)


def test_long_token_ids_become_int32_with_their_cast_taken_out(tmp_path: Path):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    ids, gather = model.graph.inputs[0], first(model, "Gather")
    cast = ir.node("Cast", [ids], attributes={"to": ir.DataType.INT64.value})
    cast.outputs[0].name, cast.outputs[0].dtype = "long_ids", ir.DataType.INT64
    model.graph.insert_before(gather, cast)
    gather.replace_input_with(1, cast.outputs[0])
    files.save(model, theirs)
    assert_computes_the_same(tmp_path, config, ours, theirs, encodings)
    ids.dtype = ir.DataType.INT64
    files.save(model, theirs)
    assert read_foreign(theirs).graph.inputs[0].dtype == ir.DataType.INT32


def test_token_ids_read_by_something_else(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    model = files.load(theirs)
    found = first(model, "Reshape")
    odd = ir.node("Add", [model.graph.inputs[0], model.graph.inputs[0]])
    odd.outputs[0].name, odd.outputs[0].dtype = "twice", ir.DataType.INT32
    model.graph.insert_before(found, odd)
    files.save(model, theirs)
    assert refused(theirs).startswith("input input_ids: token ids are read by Add, not only by the embedding\n")


@pytest.mark.parametrize(
    ("opset", "message"),
    [
        (
            17,
            "node RMSNormalization:layers.0.attn.norm (RMSNormalization): RMSNormalization is not an operator of ONNX"
            " opset 17\n  export the model with ONNX's own operators",
        ),
        (11, "{theirs}: opset 11 is too old to be converted\n  export it with opset 17 or later"),
    ],
)
def test_an_opset_that_cannot_be_lifted(tmp_path: Path, opset: int, message: str):
    _, _, theirs, _ = somebody_elses(tmp_path)
    model = files.load(theirs)
    if opset < 17:
        for found in [found for found in model.graph if found.op_type == "RMSNormalization"]:
            found.op_type = "Identity"
            found.attributes.clear()
            found.resize_inputs(1)
    model.graph.opset_imports[""] = opset
    files.save(model, theirs)
    assert refused(theirs) == message.format(theirs=theirs)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_integers_behind_the_links_of_a_hub_cache(tmp_path: Path, link: str):
    """blobs/<hash> holds the files, snapshots/<commit> links to them."""
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    cache = tmp_path / "cache"
    (cache / "blobs").mkdir(parents=True)
    packed = cache / "blobs" / "model"
    onnx.save_model(onnx.load(theirs), packed, save_as_external_data=True, location="packed.data", size_threshold=0)
    packed.with_name("packed.data").rename(cache / "blobs" / "5f2a")
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for name, blob in (("model.onnx", packed), ("packed.data", cache / "blobs" / "5f2a")):
        getattr(snapshot / name, link)(blob)
    assert_computes_the_same(tmp_path, config, ours, snapshot / "model.onnx", encodings)


def test_sixteen_bit_weights(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    model = files.load(theirs)
    name, value = next((n, v) for n, v in model.graph.initializers.items() if n.endswith("up_proj.weight"))
    value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=name)
    value.dtype = ir.DataType.FLOAT16
    files.save(model, theirs)
    assert refused(theirs) == (
        "initializer model.layers.0.mlp.up_proj.weight: it is float16, but encodings need a float32 graph\n"
        "  export it in float32"
    )


def test_a_sixteen_bit_mask(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    model = files.load(theirs)
    model.graph.inputs[1].dtype = ir.DataType.BFLOAT16
    files.save(model, theirs)
    assert refused(theirs).startswith("input attention_mask: it is bfloat16, ")


def test_a_weights_file_that_is_missing(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    theirs.with_name("weights.bin").unlink()
    assert refused(theirs) == (
        "initializer model.embed_tokens.weight: its weights file weights.bin does not exist\n"
        "  copy the graph again, with its weights file beside it"
    )


def test_a_weights_file_that_was_cut_short(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    weights = theirs.with_name("weights.bin")
    weights.write_bytes(weights.read_bytes()[:-1])
    whole = weights.stat().st_size + 1
    assert (
        f"lm_head.weight: its weights file weights.bin has {whole - 1:,} bytes, expected at least {whole:,}\n"
        in refused(theirs)
    )
