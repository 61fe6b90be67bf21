"""Tokens that two runs of one quantized graph may rightly give to different experts.

A router's choice has no small errors. Where the last chosen logit and the first that is not lie within a few steps of
their grid, the rounding of either run decides, and all that follows differs for that token: neither run is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from qairt.model.names import POOLED, token_axis
from qairt.runtime.cpu import session_options
from qairt.runtime.parts import PartGraph
from qairt.runtime.stored import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE_STEPS = 16
"""The HTP's TopK (QNN 2.51) is off by up to 9 steps of a 16-bit grid."""


def undecided_tokens(part: PartGraph, inputs: Mapping[str, Array], *, threads: int) -> NDArray[np.bool_] | None:
    """[AR]: where a router of the graph is undecided; None if it has none, or if nothing else remains."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load(str(part.onnx), load_external_data=False)
    routers = [node for node in model.graph.node if node.op_type == "TopK"]
    if not routers:
        return None
    integers = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    constants = {each.name: each for each in model.graph.initializer}
    chosen = {integers[node.input[0]]: int(numpy_helper.to_array(constants[node.input[1]])[0]) for node in routers}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in chosen)
    options = session_options(threads=threads, fold_weights=False)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(part.onnx.parent))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = [
        near_ties(logits, count)
        for logits, count in zip(session.run(list(chosen), dict(inputs)), chosen.values(), strict=True)
    ]
    undecided = np.logical_or.reduce(found)
    return None if undecided.all() else undecided


def near_ties(logits: Array, chosen: int) -> NDArray[np.bool_]:
    """[AR]: where the last of the `chosen` largest of logits [1, AR, experts] is near the next, in steps."""
    ranked = np.sort(np.asarray(logits[0], np.int64), -1)[:, ::-1]
    if chosen >= ranked.shape[1]:
        return np.zeros(len(ranked), np.bool_)
    return np.asarray(ranked[:, chosen - 1] - ranked[:, chosen] <= TIE_STEPS)


def without_tokens(output: Array, name: str, left_out: NDArray[np.bool_] | None) -> Array:
    """An output without these tokens."""
    axis = token_axis(name)
    if left_out is None or name == POOLED or output.ndim <= axis or output.shape[axis] != len(left_out):
        return output
    return np.compress(~left_out, output, axis)
