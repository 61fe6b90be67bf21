"""Adopt an external ONNX graph: afterwards it looks like one of our own exports.

1. Its inputs and outputs get the names that runtimes expect (`interface`); where they hold something else, the graph is
   rewritten (`decoder`) and compared with what it was.
2. Its weights are copied to one raw float32 file, one at a time.
3. The residual stream is followed from the embedding: the value after every second residual Add becomes `hidden_k`; any
   other tensor of that name gets a new one.
4. Encodings follow (`encodings`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph import files, split
from qairt.graph.bind import is_symbolic
from qairt.graph.foreign.bind import lengths_of
from qairt.graph.foreign.compare import Original
from qairt.graph.foreign.decoder import needs_rewriting, rewrite
from qairt.graph.foreign.encodings import Given, adopted_encodings, without_encoding
from qairt.graph.foreign.interface import name_interface
from qairt.graph.foreign.positions import Rewritten
from qairt.graph.foreign.read import narrow_ids, read_foreign, require_float32
from qairt.graph.part_vectors import run
from qairt.graph.session import Array
from qairt.graph.weights_file import append, external, read
from qairt.model.names import hidden_name, past_names, present_names
from qairt.model.parts import Part
from qairt.quant.encodings import Encodings
from qairt.quant.encodings_json import write_encodings


def adopt(
    source: Path,
    source_encodings: Path,
    *,
    onnx: Path,
    weights: Path,
    encodings: Path,
    io_names: Mapping[str, str] | None = None,
    threads: int = 1,
) -> list[Given]:
    """Write `source` and its encodings in the form of our own export.

    Args:
        io_names: the graph's name of each of our inputs and outputs that is not found by itself.

    Returns:
        Encodings that were missing, and what they are now.

    Raises:
        GraphError: it is not a decoder of the supported form; names the node, input or output.
        QuantizationError: the encodings cannot be read.
        RecipeError: `io_names` does not fit the graph.
    """
    original = Original(encodings.parent)
    adopted = read_adopted(source, source_encodings, io_names or {}, original.keep)
    _write_weights(adopted.model, weights)
    encodings.write_text(write_encodings(adopted.encodings), encoding="utf-8")
    files.save(adopted.model, onnx)
    if adopted.rewritten is not None:
        original.compare(onnx, adopted.rewritten.angles, threads=threads)
    return adopted.given


@dataclass(frozen=True)
class Adopted:
    """An external graph in the form of our own export; its weights are where they were."""

    model: ir.Model
    encodings: Encodings
    given: list[Given]
    """The encodings that its file does not have."""
    bare: list[str]
    """Tensors that have no encoding and cannot be quantized, by the names that the given graph has for them."""
    rewritten: Rewritten | None
    """What rewriting it made; None if it had our form."""


def read_adopted(
    source: Path,
    source_encodings: Path,
    io_names: Mapping[str, str],
    keep: Callable[[ir.Model], None] = lambda model: None,
) -> Adopted:
    """The graph and the encodings that `adopt` writes; takes seconds, and reads small tensors only.

    Args:
        keep: gets the graph before it is rewritten.

    Raises:
        GraphError, QuantizationError, RecipeError: as `adopt`.
    """
    model, renamed, rewritten = _in_our_form(source, io_names, keep)
    _put_inputs_first(model)
    if not is_symbolic(model):
        lengths_of(model)
    stream = _hidden_states(model)
    _require_outputs(model, len(stream) - 1)
    renamed |= _name_hidden_states(model, stream)
    encodings, given = adopted_encodings(model, source_encodings, renamed, rewritten)
    names = {ours: theirs for theirs, ours in renamed.items()}
    bare = [names.get(name, name) for name in without_encoding(model, encodings)]
    return Adopted(model, encodings, given, bare, rewritten)


def _put_inputs_first(model: ir.Model) -> None:
    """Products with cosine and sine get them as the first operand: see `qairt.model.layers.rotary`."""
    for node in model.graph:
        first, second = (*node.inputs, None, None)[:2]
        if node.op_type != "Mul" or first is None or second is None:
            continue
        if second.is_graph_input() and not first.is_graph_input():
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)


def layer_sizes(source: Path, io_names: Mapping[str, str] | None = None) -> tuple[int, tuple[int, ...], int]:
    """Float32 bytes of the embedding, of each layer, and of the head. Reads no weights.

    Raises:
        GraphError, RecipeError: as `adopt`.
    """
    model, _ = _named(source, io_names or {})
    order = {value: index for index, value in enumerate(_hidden_states(model))}
    sizes = [0] * (len(order) + 1)  # embedding, layers, head
    part = 0
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const_value is not None and value.const_value.dtype.is_floating_point():
                sizes[part] += 4 * value.const_value.size
        part = max([part, *(order[out] + 1 for out in node.outputs if out in order)])
    return sizes[0], tuple(sizes[1:-1]), sizes[-1]


def _in_our_form(
    source: Path, io_names: Mapping[str, str], keep: Callable[[ir.Model], None]
) -> tuple[ir.Model, dict[str, str], Rewritten | None]:
    """Rule 1: the graph, new names by old, and what rewriting it made."""
    model, renamed = _named(source, io_names)
    rewritten = None
    names = {ours: theirs for theirs, ours in renamed.items()}
    if needs_rewriting(model):
        rewritten = rewrite(model, names, keep)
    elif any(value.meta.get("turned") for value in model.graph.initializers.values()):
        # Linear layers were 1x1 Convs: data is moved around each of them, and heads are cut from channels.
        try:
            rewritten = rewrite(model, names, keep)
        except GraphError:  # its inputs and outputs are ours already, and any attention between them will do
            model, renamed = _named(source, io_names)
    require_float32(model)
    return model, renamed, rewritten


def _named(source: Path, io_names: Mapping[str, str]) -> tuple[ir.Model, dict[str, str]]:
    model = read_foreign(source)
    renamed = name_interface(model, io_names)
    narrow_ids(model)
    return model, renamed


def external_part_inputs(
    whole: Path, part: Part, directory: Path, *, mask_floor: float, threads: int
) -> dict[str, Array]:
    """Inputs of a part: the first AR tokens of the vocabulary on an empty cache, run through the parts before it."""
    model = files.load(whole)
    lengths = lengths_of(model)
    shapes = {str(value.name): tuple(value.shape.numpy()) for value in model.graph.inputs if value.shape is not None}
    ar, cl = lengths.ar, lengths.cl
    seen = np.tril(np.ones((ar, ar), bool))
    mask = np.full((1, 1, ar, cl), mask_floor, np.float32)
    mask[0, 0, :, cl - ar :][seen] = 0.0
    inputs: dict[str, Array] = {
        name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name.startswith("past_")
    }
    inputs |= {"input_ids": np.arange(ar, dtype=np.int32)[None], "attention_mask": mask}
    if "position_ids_cos" in shapes:
        half = shapes["position_ids_cos"][-1]
        angles = np.arange(ar)[:, None] / 10000.0 ** (np.arange(half) / half)
        inputs["position_ids_cos"] = np.cos(angles, dtype=np.float32)[None, None]
        inputs["position_ids_sin"] = np.sin(angles, dtype=np.float32)[None, None]
    if part.has_embedding:
        return {name: value for name, value in inputs.items() if name == "input_ids" or part.of == 1}
    before = Part(
        index=1,
        of=2,
        first_layer=0,
        last_layer=part.first_layer,
        has_embedding=True,
        has_head=False,
        weight_bytes=0,
    )
    prefix = directory / ".prefix.onnx"
    files.save(split.cut(model, before, name="prefix"), prefix)
    try:
        hidden = run(prefix, inputs, threads)[hidden_name(part.first_layer)]
    finally:
        prefix.unlink()
    own = {name for layer in range(part.first_layer, part.last_layer) for name in past_names(layer)}
    shared = {"attention_mask", "position_ids_cos", "position_ids_sin"} | own
    return {hidden_name(part.first_layer): hidden} | {name: inputs[name] for name in inputs if name in shared}


def _hidden_states(model: ir.Model) -> list[ir.Value]:
    """The input of each layer, and the output of the last."""
    ids = next((value for value in model.graph.inputs if value.name == "input_ids"), None)
    gather = next((use.node for use in ids.uses() if use.node.op_type == "Gather"), None) if ids else None
    if gather is None:
        found = ", ".join(str(value.name) for value in model.graph.inputs)
        remedy = f"the graph's inputs are {found}: say in stages.export.io_names which is input_ids"
        raise GraphError(
            "no Gather reads input_ids",
            where=str(model.graph.name),
            remedy="export the decoder with its embedding" if ids else remedy,
        )
    stream = [gather.outputs[0]]
    for node in model.graph:
        if node.op_type == "Add" and stream[-1] in node.inputs:
            other = next((value for value in node.inputs if value is not stream[-1]), None)
            if other is not None and other.const_value is None:
                stream.append(node.outputs[0])
    if len(stream) < 3 or len(stream) % 2 == 0:
        raise GraphError(
            f"{len(stream) - 1} residual Adds follow the embedding, but each decoder layer has two",
            where=f"node {gather.name or gather.outputs[0].name}",
            remedy="export the decoder with a residual Add after attention and after the MLP of each layer",
        )
    return stream[::2]


def _name_hidden_states(model: ir.Model, stream: list[ir.Value]) -> dict[str, str]:
    """Rule 2. Returns the new names by old name."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    taken = {str(value.name) for value in values}
    new_names = {value: hidden_name(index) for index, value in enumerate(stream)}
    reserved = set(new_names.values())
    renamed: dict[ir.Value, str] = {}
    for value in values:
        name = str(value.name)
        if value in new_names:
            renamed[value] = new_names[value]
        elif name in reserved:
            renamed[value] = next(free for n in count(1) if (free := f"{name}.{n}") not in taken)
    old = {str(value.name): name for value, name in renamed.items()}
    for value in renamed:
        value.name = f"{value.name}.renamed"  # two of them may swap names
    for value, name in renamed.items():
        value.name = name
    return old


def _require_outputs(model: ir.Model, layers: int) -> None:
    have = {str(value.name) for value in model.graph.outputs} | {str(value.name) for value in model.graph.inputs}
    wanted = ["logits", *(name for i in range(layers) for name in (*past_names(i), *present_names(i)))]
    missing = [name for name in wanted if name not in have]
    if missing:
        raise GraphError(
            f"it has {layers} layers but no input or output {missing[0]}",
            where=str(model.graph.name),
            remedy="name the outputs logits, past_key_{i}_out, past_value_{i}_out, and the inputs past_…_in",
        )


def _write_weights(model: ir.Model, path: Path) -> None:
    """Rule 1."""
    with path.open("wb") as file:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            value.const_value = external(name, append(file, read(tensor)), path)
