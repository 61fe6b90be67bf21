"""A foreign graph at other lengths: right where the meaning of every number is proven, refused everywhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from foreign_graphs import adopted, constant, first, node, somebody_elses
from tiny_graphs import bound, feeds, run

from qairt.errors import GraphError
from qairt.graph import files
from qairt.graph.foreign.bind import bind_foreign

OTHER_LENGTHS = "export it with lengths that equal no layer size, such as AR 128 and CL 4096"


def opened(tmp_path: Path, ar: int = 6, cl: int = 40) -> ir.Model:
    _, _, theirs, encodings = somebody_elses(tmp_path, ar=ar, cl=cl)
    return files.load(adopted(tmp_path, theirs, encodings))


def refused(model: ir.Model, ar: int = 2, cl: int = 16) -> str:
    with pytest.raises(GraphError) as caught:
        bind_foreign(model, ar=ar, cl=cl)
    return str(caught.value)


def slice_mask(model: ir.Model, start: int, end: int, axis: int = 3, step: int = 1) -> None:
    """Everything reads a slice of the attention mask in its place."""
    mask = next(value for value in model.graph.inputs if value.name == "attention_mask")
    readers = list(mask.uses())
    bounds = [constant(model, [number], f"slice_{place}") for place, number in enumerate((start, end, axis, step))]
    sliced = node(model, next(iter(model.graph)), "Slice", [mask, *bounds], "sliced")
    for reader, place in readers:
        reader.replace_input_with(place, sliced)


@pytest.mark.parametrize(("ar", "cl"), [(1, 16), (4, 64), (6, 40)])
@pytest.mark.parametrize("exported", [(6, 40), (16, 32), (4, 40), (2, 40), (16, 64), (64, 128)])
def test_other_lengths_compute_what_our_own_graph_computes(tmp_path: Path, ar: int, cl: int, exported: tuple[int, int]):
    """The exported lengths equal the heads (4), KV heads (2), head size (16) and hidden size (64) of the model."""
    config, ours, theirs, encodings = somebody_elses(tmp_path, *exported)
    onnx = adopted(tmp_path, theirs, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=ar, cl=cl), path)
    tensors = feeds(config, list(range(ar)), cl=cl)
    wanted = run(bound(ours, ar, cl), tensors)
    for name, value in run(path, tensors).items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-6)


def test_every_tensor_has_its_shape_in_numbers_and_no_constant_is_left_over(tmp_path: Path):
    model = bind_foreign(opened(tmp_path), ar=3, cl=16)
    for made in model.graph:
        assert made.outputs[0].shape is not None
        assert all(isinstance(size, int) for size in made.outputs[0].shape)
    assert all(value.uses() for value in model.graph.initializers.values())


def test_a_graph_for_one_token_serves_its_own_lengths_and_no_other(tmp_path: Path):
    model = bind_foreign(opened(tmp_path, ar=1, cl=40), ar=1, cl=40)
    assert model.graph.name == "ar1-cl40"
    message = refused(opened(tmp_path / "again", ar=1, cl=40), ar=8, cl=40)
    assert message == (
        "node Reshape:layers.0.attn.q.heads (Reshape): it cannot be rebound from AR 1 and CL 40: "
        f"it is unclear which of [2, 2, 16] holds ar = 1\n  {OTHER_LENGTHS}"
    )


def test_an_ambiguous_reshape_names_its_node(tmp_path: Path):
    model = opened(tmp_path, ar=4)
    heads = next(found for found in model.graph if found.name == "Reshape:layers.0.attn.q.heads")
    heads.replace_input_with(1, constant(model, [2, 2, 2, 2, 16], "target"))
    assert refused(model) == (
        "node Reshape:layers.0.attn.q.heads (Reshape): it cannot be rebound from AR 4 and CL 40: "
        f"it is unclear which of [2, 2] holds ar = 4\n  {OTHER_LENGTHS}"
    )


def test_an_unsupported_operation_is_named(tmp_path: Path):
    model = opened(tmp_path)
    first(model, "Sigmoid").op_type = "Erf"
    message = refused(model)
    assert message.startswith("node Sigmoid:layers.0.mlp.sigmoid (Erf): the operation Erf is not supported\n")
    assert "with these operations only: Add, Cast, Concat, " in message


def test_an_operation_of_another_domain_is_not_taken_for_onnx_own(tmp_path: Path):
    model = opened(tmp_path)
    first(model, "MatMul").domain = "com.microsoft"
    assert "(com.microsoft::MatMul): the operation com.microsoft::MatMul is not supported" in refused(model)


def test_a_mask_made_for_one_length_is_refused(tmp_path: Path):
    model = opened(tmp_path)
    masked = next(found for found in model.graph if found.name == "Add:layers.0.attn.masked")
    masked.replace_input_with(1, constant(model, np.zeros((1, 1, 6, 40)), "baked"))
    message = refused(model)
    assert message.startswith("node Add:layers.0.attn.masked (Add): it cannot be rebound from AR 6 and CL 40: ")
    assert "meet: a constant was exported for one length" in message


def test_a_shape_that_is_computed_is_refused(tmp_path: Path):
    model = opened(tmp_path)
    heads = first(model, "Reshape")
    heads.replace_input_with(1, node(model, heads, "Identity", [heads.inputs[1]], "computed"))
    assert refused(model) == (
        "node Reshape:layers.0.attn.q.heads (Reshape): one of its shapes, axes or bounds is not constant, or does"
        " not fit\n  export it with constants folded and fixed sizes"
    )


def test_a_reshape_that_copies_a_size_that_is_not_there_is_refused(tmp_path: Path):
    model = opened(tmp_path)
    first(model, "Reshape").replace_input_with(1, constant(model, [6, 2, 2, 16, 0], "target"))
    assert "node Reshape:layers.0.attn.q.heads (Reshape): one of its shapes, axes or bounds" in refused(model)


def test_a_place_counted_from_the_start_is_not_taken_for_the_last(tmp_path: Path):
    """Index 5 of 6 tokens is the last one, or the sixth: at 12 tokens these differ."""
    model = opened(tmp_path)
    norm = next(found for found in model.graph if found.name == "MatMul:logits")
    norm.replace_input_with(
        0, node(model, norm, "Gather", [norm.inputs[0], constant(model, [5], "last")], "picked", axis=1)
    )
    assert refused(model, ar=12, cl=40) == (
        "node Gather:picked (Gather): it cannot be rebound from AR 6 and CL 40: it indexes ar, and the index may"
        f" count from the end\n  {OTHER_LENGTHS}"
    )


@pytest.mark.parametrize(("start", "end"), [(0, 40), (-40, 2**31), (0, 2**63 - 1)])
@pytest.mark.parametrize("cl", [16, 64])
def test_a_slice_of_the_whole_stays_one(tmp_path: Path, start: int, end: int, cl: int):
    model = opened(tmp_path)
    slice_mask(model, start, end)
    bind_foreign(model, ar=2, cl=cl)
    assert list(first(model, "Slice").outputs[0].shape) == [1, 1, 2, cl]


@pytest.mark.parametrize(("start", "end", "step"), [(0, 50, 1), (0, 39, 1), (1, 40, 1), (0, 2**31, 4), (6, 34, 1)])
def test_a_slice_of_something_else_is_refused(tmp_path: Path, start: int, end: int, step: int):
    model = opened(tmp_path)
    slice_mask(model, start, end, step=step)
    every = f", every {step}" if step != 1 else ""
    assert f"node Slice:sliced (Slice): {AMBIGUOUS}: it slices cl = 40 from {start} to {end}{every}" in refused(model)


AMBIGUOUS = "it cannot be rebound from AR 6 and CL 40"


def test_outputs_that_hold_the_whole_cache_are_refused(tmp_path: Path):
    model = opened(tmp_path)
    for place, value in enumerate(model.graph.outputs):
        if value.name == "past_key_0_out":
            keys = next(use.node for use in value.uses() if use.node.op_type == "Concat").outputs[0]
            value.name, keys.name = "new_key_0", "past_key_0_out"
            model.graph.outputs[place] = keys
    assert refused(model) == (
        "output past_key_0_out: its shape is [2, 1, 16, 16]: dimension 3 is not AR = 2\n"
        "  output logits [1, AR, vocab], and keys and values of the new tokens only, without the cache"
    )


def test_an_input_without_a_shape_is_named(tmp_path: Path):
    model = opened(tmp_path)
    next(value for value in model.graph.inputs if value.name == "position_ids_cos").shape = None
    assert refused(model) == (
        "input position_ids_cos: its shape is not fixed\n"
        "  export it with fixed sizes, or with dimensions named ar, cl and past"
    )


def test_an_input_of_another_length_is_named(tmp_path: Path):
    model = opened(tmp_path)
    next(value for value in model.graph.inputs if value.name == "past_key_0_in").shape = ir.Shape([2, 1, 16, 40])
    assert refused(model) == (
        "input past_key_0_in: dimension 3 of past_key_0_in [2, 1, 16, 40] is not past = 34\n"
        "  export all inputs for the same AR and CL"
    )


def test_an_unknown_input_is_named(tmp_path: Path):
    model = opened(tmp_path)
    next(value for value in model.graph.inputs if value.name == "position_ids_cos").name = "rotary"
    assert refused(model).startswith("input rotary: the meaning of the dimensions of rotary [1, 1, 6, 8] is unknown\n")


def test_context_must_be_longer_than_a_call(tmp_path: Path):
    assert "context length 8 must be larger than the auto-regressive length 8" in refused(opened(tmp_path), 8, 8)
