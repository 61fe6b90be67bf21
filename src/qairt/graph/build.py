"""Build the decoder as ONNX from its configuration, with named dimensions `ar`, `cl` and `past`.

1. The graph is `qairt.model.decoder` run with `OnnxOps`: one node per operation, one name per tensor.
2. Weights refer to one raw float32 file; none is read to build the graph.
3. RMSNorm is one `RMSNormalization` node (opset 23).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from qairt.graph.bind import windowed
from qairt.graph.constants import integer_constant
from qairt.graph.weights_file import TensorLocation, external
from qairt.model import decoder
from qairt.model.config import DecoderConfig
from qairt.model.inputs import CONV, masks, rotaries
from qairt.model.kept import fixed_slots, kept_names, kept_shape
from qairt.model.lora.shape import LoraShape
from qairt.model.names import token_axis
from qairt.model.ops import AttendsAtOnce, Branch, ExpertMlp

OPSET = 23
IR_VERSION = 11
_END = 2**31 - 1
"""The end of any axis."""


class OnnxOps(AttendsAtOnce[ir.Value]):
    """`qairt.model.decoder.Ops` that emits ONNX nodes."""

    def __init__(
        self,
        locations: Mapping[str, TensorLocation],
        weights: Path,
        branches: Mapping[str, ir.Value],
    ) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self.branches = dict(branches)
        """Inputs and weights of LoRA branches, by name."""
        self._locations = locations
        self._weights = weights

    def embedding(self, ids: ir.Value, weight: str, *, out: str) -> ir.Value:
        return self._node("Gather", [self.weight(weight), ids], out)

    def linear(self, x: ir.Value, weight: str, bias: str | None, *, out: str) -> ir.Value:
        if bias is None:
            return self._node("MatMul", [x, self.weight(weight)], out)
        product = self._node("MatMul", [x, self.weight(weight)], f"{out}.matmul")
        return self._node("Add", [product, self.weight(bias)], out)

    def rms_norm(self, x: ir.Value, weight: str, epsilon: float, *, out: str) -> ir.Value:
        return self._node("RMSNormalization", [x, self.weight(weight)], out, axis=-1, epsilon=epsilon)

    def scale(self, x: ir.Value, weight: str, *, out: str) -> ir.Value:
        return self._node("Mul", [x, self.weight(weight)], out)

    def shift(self, x: ir.Value, weight: str, *, out: str) -> ir.Value:
        return self._node("Add", [x, self.weight(weight)], out)

    def mean(self, x: ir.Value, *, out: str) -> ir.Value:
        return self._node("ReduceMean", [x, integer_constant(self.initializers, [-1])], out, keepdims=1)

    def average(self, x: ir.Value, weights: ir.Value, *, out: str) -> ir.Value:
        weighted = self._node("Mul", [weights, x], f"{out}.weighted")
        return self._node("ReduceSum", [weighted, integer_constant(self.initializers, [1])], out, keepdims=1)

    def add(self, a: ir.Value, b: ir.Value, *, out: str) -> ir.Value:
        return self._node("Add", [a, b], out)

    def sub(self, a: ir.Value, b: ir.Value, *, out: str) -> ir.Value:
        return self._node("Sub", [a, b], out)

    def mul(self, a: ir.Value, b: ir.Value, *, out: str) -> ir.Value:
        return self._node("Mul", [a, b], out)

    def sigmoid(self, x: ir.Value, *, out: str) -> ir.Value:
        return self._node("Sigmoid", [x], out)

    def tanh(self, x: ir.Value, *, out: str) -> ir.Value:
        return self._node("Tanh", [x], out)

    def relu(self, x: ir.Value, *, out: str) -> ir.Value:
        return self._node("Relu", [x], out)

    def minimum(self, x: ir.Value, weight: str, *, out: str) -> ir.Value:
        return self._node("Min", [x, self.weight(weight)], out)

    def maximum(self, x: ir.Value, weight: str, *, out: str) -> ir.Value:
        return self._node("Max", [x, self.weight(weight)], out)

    def largest(self, x: ir.Value, count: int, size: int, chosen: str, others: str, *, out: str) -> ir.Value:
        """By index: on the HTP the values of TopK (QNN 2.51) are off by some steps."""
        constants = self.initializers
        top = ir.node(
            "TopK", [x, integer_constant(constants, [count])], {"axis": -1}, num_outputs=2, name=f"TopK:{out}"
        )
        values, indices = top.outputs
        values.name, values.dtype = f"{out}.values", ir.DataType.FLOAT
        indices.name, indices.dtype = f"{out}.indices", ir.DataType.INT64
        self.nodes.append(top)
        numbers = integer_constant(constants, range(size))
        is_chosen: ir.Value | None = None
        for place in range(count):
            index = self._node(
                "Slice",
                [indices, *(integer_constant(constants, [number]) for number in (place, place + 1, -1))],
                f"{out}.index_{place}",
                ir.DataType.INT64,
            )
            equal = self._node("Equal", [index, numbers], f"{out}.is_{place}", ir.DataType.BOOL)
            if is_chosen is not None:
                equal = self._node("Or", [is_chosen, equal], f"{out}.is_any_{place}", ir.DataType.BOOL)
            is_chosen = equal
        assert is_chosen is not None
        return self._node("Where", [is_chosen, self.weight(chosen), self.weight(others)], out)

    def experts(
        self, x: ir.Value, routing: tuple[ir.Value, ir.Value], count: int, mlp: ExpertMlp, down: str, *, out: str
    ) -> ir.Value:
        gated: ir.Value = mlp(self, x, routing[1], "", count)
        return self._node("MatMul", [gated, self.weight(down)], out)

    def gelu(self, x: ir.Value, *, by_tanh: bool, out: str) -> ir.Value:
        return self._node("Gelu", [x], out, approximate="tanh" if by_tanh else "none")

    def softmax(self, x: ir.Value, *, out: str) -> ir.Value:
        return self._node("Softmax", [x], out, axis=-1)

    def softmax_beside(self, x: ir.Value, mask: ir.Value, sinks: str, *, out: str) -> ir.Value:
        last = [integer_constant(self.initializers, [number]) for number in (0, -1, -1)]
        zeros = self._node("ReduceMax", [mask, integer_constant(self.initializers, [-1])], out + ".zeros", keepdims=1)
        sink = self._node("Add", [zeros, self.weight(sinks)], out + ".sink")
        joined = self._node("Concat", [x, sink], out + ".joined", axis=-1)
        return self._node("Slice", [self._node("Softmax", [joined], out + ".all", axis=-1), *last], out)

    def matmul(self, a: ir.Value, b: ir.Value, *, out: str) -> ir.Value:
        return self._node("MatMul", [a, b], out)

    def slice(self, x: ir.Value, start: int, end: int, *, axis: int, out: str) -> ir.Value:
        bounds = [
            integer_constant(self.initializers, [start]),
            integer_constant(self.initializers, [end]),
            integer_constant(self.initializers, [axis]),
        ]
        return self._node("Slice", [x, *bounds], out)

    def pad(self, x: ir.Value, before: int, after: int, *, out: str) -> ir.Value:
        """QNN takes no Pad with axes (2.51)."""
        return self._node("Pad", [x, integer_constant(self.initializers, (0, before, 0, 0, after, 0))], out)

    def tail(self, x: ir.Value, start: int, *, axis: int, out: str) -> ir.Value:
        bounds = [integer_constant(self.initializers, [number]) for number in (start, _END, axis)]
        return self._node("Slice", [x, *bounds], out)

    def concat(self, parts: Sequence[ir.Value], *, axis: int, out: str) -> ir.Value:
        return self._node("Concat", list(parts), out, axis=axis)

    def reshape(self, x: ir.Value, shape: Sequence[int], *, out: str) -> ir.Value:
        return self._node("Reshape", [x, integer_constant(self.initializers, list(shape))], out)

    def transpose(self, x: ir.Value, order: Sequence[int], *, out: str) -> ir.Value:
        return self._node("Transpose", [x], out, perm=list(order))

    def branch(self, module: str) -> Branch[ir.Value] | None:
        return Branch.among(self.branches, module)

    def _node(
        self,
        op: str,
        inputs: list[ir.Value],
        out: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        **attributes: int | float | str | list[int],
    ) -> ir.Value:
        node = ir.node(op, inputs, attributes=attributes, name=f"{op}:{out}")
        value = node.outputs[0]
        value.name = out
        value.dtype = dtype
        self.nodes.append(node)
        return value

    def weight(self, name: str) -> ir.Value:
        """A parameter of `locations`."""
        if name not in self.initializers:
            self.initializers[name] = ir.Value(
                name=name, const_value=external(name, self._locations[name], self._weights)
            )
        value = self.initializers[name]
        assert value.const_value is not None
        value.shape, value.dtype = value.const_value.shape, value.const_value.dtype  # type: ignore[assignment]
        return value


def build_decoder(
    config: DecoderConfig,
    locations: Mapping[str, TensorLocation],
    weights: Path,
    lora: LoraShape | None = None,
) -> ir.Model:
    """Build the whole decoder.

    Args:
        locations: of each graph parameter in `weights`, from `write_weights`.
        weights: the raw file, which the graph refers to by name.
        lora: the LoRA branches; without any when None.

    Returns:
        Inputs `input_ids` [1, ar], `attention_mask` [1, 1, ar, cl], `position_ids_cos`/`_sin` [1, 1, ar, D/2] and
        windowed layers' own of these (see `qairt.model.inputs`), `past_key_{i}_in` [KV, 1, D, past],
        `past_value_{i}_in` [KV, 1, past, D], and those of `lora`; outputs `logits` [1, ar, vocab] and
        `past_key_{i}_out`, `past_value_{i}_out` of the new tokens. What belongs to a window of W has the dimensions
        `cl_W` and `past_W`. Layers with a short convolution have `past_conv_{i}_in` and `_out` in place of keys and
        values, see `qairt.model.kept`, and their graph an input `conv_places` [1, ar, length]. An embedding
        model has no keys and values, masks of `ar` columns, and `pooled_output` [1, 1, values] instead of logits.
    """
    branches = {
        name: _input(name, ir.DataType.FLOAT, list(shape))
        for name, shape in (lora.input_shapes(config) if lora is not None else {}).items()
    }
    ops = OnnxOps(locations, weights, branches)
    ops.branches |= {name: ops.weight(name) for name in (lora.constant_shapes(config) if lora is not None else {})}
    ids = _input("input_ids", ir.DataType.INT32, [1, "ar"])
    positions = {
        name: _input(name, ir.DataType.FLOAT, [1, 1, "ar", windowed("cl", window) if config.pooling is None else "ar"])
        for name, window in masks(config).items()
    }
    for names in rotaries(config):
        positions |= {name: _input(name, ir.DataType.FLOAT, [1, 1, "ar", config.rotated // 2]) for name in names}
    if config.convolution is not None:
        positions[CONV] = _input(CONV, ir.DataType.FLOAT, [1, "ar", config.convolution.length])
    inputs, outputs = [ids, *positions.values()], []
    read = decoder.positions(ops, config, positions)
    hidden = decoder.embed(ops, ids)
    for layer in range(config.num_layers):
        past = _past_inputs(config, layer)
        hidden, present = decoder.block(ops, config, layer, hidden, read, past)
        for value in present if past else ():
            value.shape = ir.Shape(_kept_shape(config, str(value.name), "ar"))
            outputs.append(value)
        inputs += past
    result = decoder.head(ops, config, hidden, read)
    result.shape = ir.Shape([1, "ar", config.vocab_size] if config.pooling is None else [1, 1, config.embedding_size])
    graph = ir.Graph(
        [*inputs, *branches.values()],
        [result, *outputs],
        nodes=ops.nodes,
        initializers=list(ops.initializers.values()),
        opset_imports={"": OPSET},
        name="decoder",
    )
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="qairt")


def _past_inputs(config: DecoderConfig, layer: int) -> list[ir.Value]:
    """What a layer keeps of the past."""
    names = [name for name, _ in kept_names(config, layer)]
    fixed = fixed_slots(config, layer)
    past = windowed("past", config.window_of(layer)) if fixed is None else fixed
    return [_input(name, ir.DataType.FLOAT, _kept_shape(config, name, past)) for name in names]


def _kept_shape(config: DecoderConfig, name: str, tokens: int | str) -> list[int | str]:
    shape: list[int | str] = list(kept_shape(config, name, 0))
    shape[token_axis(name)] = tokens
    return shape


def _input(name: str, dtype: ir.DataType, shape: list[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
