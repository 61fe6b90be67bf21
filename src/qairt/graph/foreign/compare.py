"""Compare an adopted graph with what it was, so that a wrong reading of it cannot go unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.graph.foreign.fold import computed
from qairt.graph.foreign.interface import cache_layers
from qairt.graph.part_vectors import run
from qairt.graph.shapes import static
from qairt.graph.weights_file import TensorLocation, external, read
from qairt.model.names import past_names, present_names

MAX_ERROR = 1e-3
"""Largest difference allowed between the two graphs' outputs, relative to the largest value."""
FLOOR = -1e4
"""What the mask gives hidden tokens here."""


class Original:
    """A graph as it was before it was rewritten, in a temporary file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / ".original.onnx"
        self._model: ir.Model | None = None

    def keep(self, model: ir.Model) -> None:
        """Copy the graph; its weights are not read."""
        graph = model.graph
        weights = {name: value.const_value for name, value in graph.initializers.items() if _is_weight(value)}
        for name in weights:
            graph.initializers[name].const_value = ir.tensor(np.zeros(0, np.float32), name=name)
        self._model = ir.from_proto(ir.to_proto(model))
        for name, tensor in weights.items():
            graph.initializers[name].const_value = tensor
            self._model.graph.initializers[name].const_value = tensor

    def compare(self, adopted: Path, angles: Mapping[str, str], *, threads: int) -> None:
        """Run both on half a cache of random values and random tokens.

        Args:
            adopted: the adopted graph, over the file of all weights.
            angles: the given graph's tensor of each of `position_ids_cos` and `position_ids_sin`.

        Raises:
            GraphError: an output differs; names it.
        """
        from qairt.graph import files

        assert self._model is not None
        made = files.load(adopted)
        written = made.graph.initializers
        for name, value in self._model.graph.initializers.items():
            if name in written and isinstance(found := written[name].const_value, ir.ExternalTensor):
                place = TensorLocation(found.offset or 0, found.length or 0, static(value))
                value.const_value = external(name, place, adopted.with_name(str(found.location)))
            elif isinstance(value.const_value, ir.ExternalTensor):  # such as a table of cosines
                value.const_value = ir.tensor(np.array(read(value.const_value)), name=name)
        files.save(self._model, self.path)
        try:
            ours, theirs = _feeds(made, self._model)
            ours |= self._angles(angles, theirs, static(_input(made, past_names(0)[1]))[3] // 2)
            found_outputs, expected = run(adopted, ours, threads), run(self.path, theirs, threads)
        finally:
            self.path.unlink()
        ar = ours["input_ids"].shape[1]
        turned = theirs[past_names(0)[0]].shape[-2:] != theirs[past_names(0)[1]].shape[-2:]
        pairs = {"logits": (found_outputs["logits"], expected["logits"])}
        for layer in range(cache_layers(made)):
            for name, is_key in zip(present_names(layer), (True, False), strict=True):
                shape = found_outputs[name].shape
                new = _new_tokens(expected[name], ar, is_turned=turned and is_key)
                new = new.swapaxes(-1, -2) if is_key and not turned else new
                pairs[name] = found_outputs[name], new.reshape(shape)
        for name, (found_values, wanted) in pairs.items():
            error = float(np.abs(np.subtract(found_values, wanted)).max() / max(float(np.abs(wanted).max()), 1e-30))
            print(f"{name}: differs from the graph as it was given by {error:.1e}")
            if not error <= MAX_ERROR:
                raise GraphError(
                    f"adopted, it differs from the graph as it was given by {error:.1e} (allowed: {MAX_ERROR:.0e})",
                    where=f"output {name}",
                    remedy="please report this graph: it was read incorrectly",
                )

    def _angles(self, angles: Mapping[str, str], feeds: dict[str, NDArray[Any]], half: int) -> dict[str, NDArray[Any]]:
        """Our cosines and sines [1, 1, AR, D / 2] for the positions that the given graph gets."""
        assert self._model is not None
        values = {str(v.name): v for v in (*self._model.graph.inputs, *_outputs(self._model))}
        found = computed(self._model, [values[name] for name in angles.values()], feeds)
        return {
            name: np.ascontiguousarray(array.reshape(1, 1, -1, array.shape[-1])[..., :half].astype(np.float32))
            for name, array in zip(angles, found, strict=True)
        }


def _input(model: ir.Model, name: str) -> ir.Value:
    return next(value for value in model.graph.inputs if value.name == name)


def _outputs(model: ir.Model) -> list[ir.Value]:
    return [value for node in model.graph for value in node.outputs]


def _is_weight(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.size > 1024 and value.dtype == ir.DataType.FLOAT


def _feeds(made: ir.Model, given: ir.Model) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """The same tokens and cache for both graphs: half of the cache is padding."""
    shapes = {str(value.name): static(value) for value in made.graph.inputs}
    random = np.random.default_rng(0)
    ar = shapes["input_ids"][1]
    cl = shapes["attention_mask"][3]
    hidden = (cl - ar) // 2
    table = next(node.inputs[0] for node in made.graph if node.op_type == "Gather")
    ids = random.integers(0, static(table)[0], (1, ar))
    seen = np.tril(np.ones((ar, cl), bool), cl - ar)
    seen[:, :hidden] = False
    positions = np.arange(cl - ar - hidden, cl - hidden)
    ours: dict[str, NDArray[Any]] = {
        "input_ids": ids.astype(np.int32),
        "attention_mask": np.where(seen, 0, FLOOR).astype(np.float32)[None, None],
    }
    theirs: dict[str, NDArray[Any]] = {}
    for value in given.graph.inputs:
        name, shape, dtype = str(value.name), static(value), (value.dtype or ir.DataType.FLOAT).numpy()
        if name == "input_ids":
            theirs[name] = ids.astype(dtype)
        elif name == "position_ids":
            theirs[name] = positions.astype(dtype).reshape(shape)
        elif name == "attention_mask" and len(shape) == 2:
            theirs[name] = seen[-1:].astype(dtype)
        elif name == "attention_mask":
            theirs[name] = (seen if dtype == np.bool_ else np.where(seen, 0, FLOOR).astype(dtype)).reshape(shape)
        elif name.startswith("position_ids_"):
            turns = positions[:, None] / 100.0 ** (np.arange(shape[-1]) % max(shape[-1] // 2, 1) / shape[-1])
            theirs[name] = (np.cos(turns) if name.endswith("cos") else np.sin(turns)).astype(dtype).reshape(shape)
        else:
            kind, layer = name.split("_")[1:3]
            our_name = past_names(int(layer))[0 if kind == "key" else 1]
            ours[our_name] = random.standard_normal(shapes[our_name]).astype(np.float32)
            theirs[name] = _as_given(ours[our_name], shape, kind == "key")
    return ours, theirs


def _as_given(values: NDArray[Any], shape: tuple[int, ...], is_key: bool) -> NDArray[Any]:
    """Our cache [KV, 1, D, past] or [KV, 1, past, D] in the layout of the given graph."""
    if is_key and shape[-2:] != values.shape[-2:]:
        values = values.swapaxes(-1, -2)
    return values.reshape(shape)


def _new_tokens(whole: NDArray[Any], ar: int, *, is_turned: bool) -> NDArray[Any]:
    """The last `ar` tokens of a cache [.., tokens, D], or turned [.., D, tokens], that the given graph outputs."""
    axis = whole.ndim - (1 if is_turned else 2)
    return whole.take(range(whole.shape[axis] - ar, whole.shape[axis]), axis)
