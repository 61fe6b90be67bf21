"""The small graphs that onnxruntime-genai runs on the CPU before and after the parts.

    position_ids [1, AR] ─┐                    ┌─ attention_mask [1, 1, AR, CL]
    token_mask   [1, CL] ─┴─ positions.onnx ───┼─ position_ids_cos, position_ids_sin [1, 1, AR, D/2]
                                               ┆  the parts
    logits [1, AR, V] (stored) ── logits.onnx ──── logits_float [1, AR, V]

onnxruntime-genai passes positions and a mask of the tokens in the context; the parts take an additive mask, cosines and
sines, all in stored integers. With LoRA, a graph without inputs gives the parts the values of a concurrency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qairt.bundle.genai_config import LOGITS_FLOAT, POSITION_IDS, TOKEN_MASK
from qairt.graph.files import save
from qairt.graph.tensors import TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.rope import rotary
from qairt.runtime.stored import Array, minimum, to_stored

_OPSET, _IR_VERSION = 21, 10


def write_positions(path: Path, config: DecoderConfig, *, mask: TensorSpec, cos: TensorSpec, sin: TensorSpec) -> None:
    """Write the graph that computes mask, cosines and sines, for any AR.

    Args:
        config: for the angles.
        mask: the parts' `attention_mask`, [1, 1, AR, CL]; defines CL.
        cos: `position_ids_cos`.
        sin: `position_ids_sin`.
    """
    length = mask.shape[-1]
    graph = _Graph()
    positions = graph.input(POSITION_IDS, ir.DataType.INT32, [1, "ar"])
    tokens = graph.input(TOKEN_MASK, ir.DataType.INT32, [1, length])
    angles = rotary(config, np.arange(length), length=length)
    for spec, table in zip((cos, sin), angles, strict=True):
        rows = graph.node("Gather", [graph.constant(f"{spec.name}_table", to_stored(table, spec)), positions])
        graph.output(
            graph.node("Unsqueeze", [rows, graph.constant(f"{spec.name}_axis", np.array([1]))], name=spec.name),
            spec,
            [1, 1, "ar", spec.shape[-1]],
        )
    # a token sees the tokens up to itself; those of the call are at the end of the context
    end = graph.constant("context_length", np.array(length))
    one = graph.constant("one", np.array(1))
    ar = graph.node("Squeeze", [graph.node("Shape", [positions], start=1, end=2)])
    rows = graph.node("Range", [graph.node("Sub", [end, ar]), end, one])
    earlier = graph.node(
        "LessOrEqual",
        [graph.constant("columns", np.arange(length)), graph.node("Unsqueeze", [rows, one])],
    )
    seen = graph.node("And", [earlier, graph.node("Cast", [tokens], to=int(ir.DataType.BOOL))])
    values = to_stored(np.array([0.0, minimum(mask) if mask.scale is not None else -1e4], np.float32), mask)
    # ONNX Runtime has no 16-bit Where
    wide = np.int32 if mask.scale is not None else np.float32
    stored = graph.node(
        "Where",
        [seen, *(graph.constant(name, wide(value)) for name, value in zip(("open", "masked"), values, strict=True))],
    )
    exact = graph.node("Cast", [stored], to=int(_dtype(mask)))
    shaped = graph.node("Unsqueeze", [exact, graph.constant("heads", np.array([0, 1]))], name=mask.name)
    graph.output(shaped, mask, [1, 1, "ar", length])
    graph.save(path, "positions")


def write_logits(path: Path, logits: TensorSpec) -> None:
    """Write the graph that converts stored logits to float.

    Args:
        logits: the last part's output, [1, AR, V].
    """
    graph = _Graph()
    shape: list[int | str] = [1, "ar", logits.shape[-1]]
    stored = graph.input(logits.name, _dtype(logits), shape)
    assert logits.scale is not None
    scale = graph.constant("scale", np.float32(logits.scale))
    zero = graph.constant("zero_point", np.asarray(-(logits.offset or 0), logits.dtype))
    real = graph.node("DequantizeLinear", [stored, scale, zero], name=LOGITS_FLOAT)
    graph.output(real, TensorSpec(name=LOGITS_FLOAT, dtype="float32", shape=logits.shape), shape)
    graph.save(path, "logits")


def write_adapter_stage(path: Path, values: Mapping[str, Array]) -> None:
    """Write the graph without inputs whose outputs are the values of LoRA branches.

    Args:
        values: stored integers, by the name of the parts' input.
    """
    graph = _Graph()
    for name, value in values.items():
        held = graph.constant(f"{name}_value", value)
        spec = TensorSpec(name=name, dtype=str(value.dtype), shape=value.shape)
        graph.output(graph.node("Identity", [held], name=name), spec, value.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    graph.save(path, "adapter")


class _Graph:
    """A graph built node by node."""

    def __init__(self) -> None:
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.inputs.append(value)
        return value

    def constant(self, name: str, value: Array | np.generic) -> ir.Value:
        tensor = ir.tensor(np.asarray(value), name=name)
        made = ir.Value(
            name=name, shape=ir.Shape(np.shape(value)), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.constants.append(made)
        return made

    def node(self, operation: str, inputs: list[ir.Value], *, name: str | None = None, **attributes: int) -> ir.Value:
        made = ir.node(operation, inputs, attributes)
        made.outputs[0].name = name or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(made)
        return made.outputs[0]

    def output(self, value: ir.Value, spec: TensorSpec, shape: Sequence[int | str]) -> None:
        value.shape, value.type = ir.Shape(shape), ir.TensorType(_dtype(spec))
        self.outputs.append(value)

    def save(self, path: Path, name: str) -> None:
        graph = ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=self.constants,
            opset_imports={"": _OPSET},
            name=name,
        )
        save(ir.Model(graph, ir_version=_IR_VERSION, producer_name="qairt"), path)


def _dtype(spec: TensorSpec) -> ir.DataType:
    return ir.DataType.from_numpy(np.dtype(spec.dtype))
